"""How ranks find and trust each other, in parts; ``rueda._rendezvous.meet`` puts them together.

From the bottom: frames and handshake are pure; fd_passing and loop wrap the system; link, gate and
dialer are connections, servers and callers; convener (rank 0) and attendee (the others) hold a
meeting, with broker (one host) or pairing (TCP) to connect every pair.
"""
