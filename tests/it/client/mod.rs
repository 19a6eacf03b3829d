// In pipes, in files and at a terminal.
mod terminals_and_pipes;

// Its streams, if they are not what they should be.
mod standard_streams;

// Peers that misbehave.
mod misbehaving_peers;

// Acknowledgements that begin with another text, or with none.
mod prefixes;

// Across outages.
mod outages;

// What it says of outages, and of a run that was cut short.
mod outage_news;

// A path that ends after any byte.
mod every_byte;

// Names and addresses that do not answer.
mod names_and_addresses;

// A connection for so many lines.
mod reconnect_every;

// Both ends of a stream, and peers that take one for the other.
mod half_close;

// The figures of outages, reply times and rates, and what was true.
mod figures;

// How late it is itself.
mod own_delay;

// The schedule of `--rate`, however the input comes.
mod schedule;

// `--progress`.
mod progress;

// `--series`.
mod series;

// `--report`, after each kind of end.
mod report;

// What the end of a run leaves behind.
mod end_of_run;

// A signal, wherever it is.
#[cfg(unix)]
mod signals;

// What it writes after a signal, if something is in the way.
#[cfg(unix)]
mod conclusion;
