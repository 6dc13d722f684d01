"""The load test: drives a deployment as many phones would, counts every message, and says pass or fail.

One process leads (`run`): it publishes through the server API, watches, and adds up. The sockets are in
other processes (`process`), each with one `Crowd` of thousands of `Phone`s that speak the client protocol and
parse as little as they can: who measures a server must cost far less than the server.

What is measured is what a user would see. A message carries the time at which it *should* have been sent, so
a server that stalls cannot hide it by stalling the sender, too (coordinated omission). Each message of a
channel has a number, so that lost, doubled and reordered ones are counted, not guessed.
"""
