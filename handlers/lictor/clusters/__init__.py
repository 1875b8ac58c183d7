"""Sets with state: who belongs to one by the members' own word, and changes of that; one module for each kind."""
