# For people and CI who use the command: they say what is desired, and see what lictor does.
key_prefix "services/" {
  policy = "write"
}
key_prefix "lictor/" {
  policy = "list"
}
service_prefix "" {
  policy = "read"
}
node_prefix "" {
  policy = "read"
}
agent_prefix "" {
  policy = "read"
}
