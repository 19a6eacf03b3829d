# Many clients at once: each connects, then each sends a line, then each reads its reply.
# From the top of the repository:
#
#     server -q &
#     python3 tests/neighbours/crowd.py 10000
import resource
import socket
import sys

LIMIT_SECONDS = 10
SERVER = ("127.0.0.1", 12345)

# A client takes a descriptor, and the usual limit is 1,024.
_, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))

number = int(sys.argv[1])
clients = [socket.create_connection(SERVER, timeout=LIMIT_SECONDS) for _ in range(number)]
for client in clients:
    client.sendall(b"hello\n")
replies = [client.makefile().readline() for client in clients]
acknowledged = replies.count("Server received your message: hello\n")
print(f"{acknowledged} of {number} clients have their reply")
sys.exit(acknowledged != number)
