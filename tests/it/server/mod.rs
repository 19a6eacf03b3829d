// Its side of the protocol, byte for byte.
mod protocol;

// Peers that know no framing.
mod raw_framing;

// Each of its limits.
mod limits;

// Clients that are slow or silent.
mod deadlines;

// What it survives.
mod faults;

// What a thread per client costs, and what happens without one.
mod threads;

// Where it runs: a shell, a container, a service manager.
#[cfg(target_os = "linux")]
mod places;

// The graceful stop by a signal.
#[cfg(unix)]
mod shutdown;

// A shutdown with many clients.
#[cfg(unix)]
mod crowds;
