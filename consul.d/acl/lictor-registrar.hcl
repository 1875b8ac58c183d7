# Registers and deregisters this node's containers, and passes their health on. Name the services instead of "" where
# you can: service_prefix "books" { policy = "write" }. The other rules are those of lictor-reconcile, which the registrar
# starts with its own token when a container of lictor's has ended.
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
