# Reads everything; writes what lictor remembers and does; deletes the keys of removed services; puts instances into
# maintenance before they are removed (service write), and has the agent reload its watches where an event was missed
# (agent write). Locks between nodes are sessions.
key_prefix "services/" {
  policy = "write"
}
key_prefix "lictor/" {
  policy = "write"
}
service_prefix "" {
  policy = "write"
}
node_prefix "" {
  policy = "read"
}
session_prefix "" {
  policy = "write"
}
agent_prefix "" {
  policy = "write"
}
