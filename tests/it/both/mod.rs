// Both command lines: usage, addresses, failures to start.
mod command_lines;

// The server's word against the client's.
mod server_log;

// A path that damages what it carries.
mod damaging_relay;

// Real proxies, balancers and other clients, if they are installed.
mod neighbours;
