# For the agent's default token: the watches and the service `lictor` come from the agent's configuration and use it.
# It has to stand in the configuration too (acl.tokens.default), because watches do not use one set through the API.
# It needs no more than this for lictor; what your agent needs otherwise, it needs still.
key_prefix "services/" {
  policy = "list"
}
service_prefix "" {
  policy = "read"
}
service "lictor" {
  policy = "write"
}
node_prefix "" {
  policy = "read"
}
