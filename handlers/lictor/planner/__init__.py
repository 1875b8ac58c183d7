"""Pure decisions: from one observation to actions and to the state that is kept. No I/O, no clock."""
