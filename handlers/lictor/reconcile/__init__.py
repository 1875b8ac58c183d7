"""The loop for one service: observe, plan, act, record, under its lock."""
