# Reads a service again when its watch's payload is too thin to be believed.
# The token in a handler's token file goes on to the lictor-reconcile that it starts: give it that policy too.
service_prefix "" {
  policy = "read"
}
node_prefix "" {
  policy = "read"
}
