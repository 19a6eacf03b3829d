mod command_lines;
mod damaging_relay;
mod neighbours;
mod server_log;
