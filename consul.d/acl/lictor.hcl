# For people and CI who use the command: they say what is desired, and see what lictor does.
key_prefix "services/" {
  policy = "write"
}
key_prefix "lictor/" {
  policy = "list"
}
# For `lictor resume`, which closes a service's breaker and gives back what it has used of the budget; and for `lictor
# deploy` and `lictor rollback`, which have a release tried again that failed before.
key_prefix "lictor/state/" {
  policy = "write"
}
key "lictor/budget" {
  policy = "write"
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
