# Reads what is desired, what runs and what nginx counted; writes desired counts, what it learned, and records of both.
# Where several nodes may act for a service, it takes a lock between them, which is a session.
key_prefix "services/" {
  policy = "write"
}
key_prefix "lictor/" {
  policy = "list"
}
key_prefix "lictor/autoscale/" {
  policy = "write"
}
key_prefix "lictor/traffic/" {
  policy = "write"
}
key_prefix "lictor/history/" {
  policy = "write"
}
key_prefix "lictor/locks/" {
  policy = "write"
}
service_prefix "" {
  policy = "read"
}
node_prefix "" {
  policy = "read"
}
session_prefix "" {
  policy = "write"
}
agent_prefix "" {
  policy = "read"
}
