mod deadlines;
#[cfg(target_os = "linux")]
mod environments;
mod faults;
mod protocol;
mod raw_framing;
mod resource_limits;
#[cfg(unix)]
mod shutdown;
#[cfg(unix)]
mod shutdown_with_many_clients;
mod threads;
