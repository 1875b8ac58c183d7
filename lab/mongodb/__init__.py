"""A double of MongoDB's replica sets: several members that pymongo talks to over real sockets, in simulated time.

No mongod can be had where lictor is built. The double keeps the rules that lictor relies on. Each module names them
with their source, mostly a page of MongoDB's manual: `rules` for configurations, `server` for states, `network` for
heartbeats, elections, replication and commitment, `commands` for what each command answers, `scram` for authentication,
`wire` for the protocol. `managed` is a set that lictor's planner manages.

It leaves out what lictor does not rely on: indexes, transactions, sharding, arbiters, delayed members, and all speed.
"""
