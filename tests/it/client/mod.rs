// Input, output and streams.
mod standard_streams;
mod terminals_and_pipes;

// Peers and paths.
mod every_byte;
mod half_close;
mod misbehaving_peers;
mod names_and_addresses;
mod prefixes;

// Outages.
mod outage_news;
mod outages;
mod reconnect_every;

// Figures and the files that have them.
mod figures;
mod own_delay;
mod progress;
mod report;
mod schedule;
mod series;

// The end of a run.
#[cfg(unix)]
mod conclusion;
mod end_of_run;
#[cfg(unix)]
mod signals;
