# Many clients at once: each connects, then each sends a line, then each reads its reply.
# From the top of the repository:
#
#     server -q &
#     python3 tests/neighbours/crowd.py 10000 [HOST PORT]
import resource
import socket
import sys
import time

LIMIT_SECONDS = 10

number = int(sys.argv[1])
if number < 1:
    sys.exit("crowd.py: at least 1 client")
server = ("127.0.0.1", 12345)
if len(sys.argv) > 2:
    server = (sys.argv[2], int(sys.argv[3]))

# A client takes a descriptor, and the usual limit is 1,024.
_, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))

clients = [socket.create_connection(server, timeout=LIMIT_SECONDS) for _ in range(number)]
for client in clients:
    client.sendall(b"hello\n")
acknowledged = 0
deadline = time.monotonic() + LIMIT_SECONDS
for client in clients:
    client.settimeout(max(deadline - time.monotonic(), 0.001))
    try:
        reply = client.makefile().readline()
    except OSError:  # no reply in time, or a reset
        continue
    acknowledged += reply == "Server received your message: hello\n"
print(f"{acknowledged} of {number} clients have their reply")
sys.exit(acknowledged != number)
