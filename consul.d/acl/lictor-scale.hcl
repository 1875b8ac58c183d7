# Reads what is desired, routes what changed, and has the agent reload its watches (agent write is for that).
# The token in a handler's token file goes on to the lictor-reconcile that it starts: give it that policy too.
key_prefix "services/" {
  policy = "list"
}
service_prefix "" {
  policy = "read"
}
node_prefix "" {
  policy = "read"
}
agent_prefix "" {
  policy = "write"
}
