# Asks Consul nothing itself, so there is no rule. The token in its token file goes on to the lictor-reconcile that it
# starts: give it that policy too.
