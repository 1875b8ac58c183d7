# For lictor-serve where it shows the page and the metrics only, beside the script door: it reads, and writes nothing.
key_prefix "services/" {
  policy = "list"
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
