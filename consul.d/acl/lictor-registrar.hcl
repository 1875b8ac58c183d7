# Registers and deregisters this node's containers, and passes their health on. Name the services instead of "" where
# you can: service_prefix "books" { policy = "write" }.
service_prefix "" {
  policy = "write"
}
node_prefix "" {
  policy = "read"
}
agent_prefix "" {
  policy = "read"
}
