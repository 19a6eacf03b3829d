//! Reading and checking the files that the client writes for `--report` and `--series`.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::Json;

/// Reads a report, removes its file, and asserts the shape of the report.
#[track_caller]
pub fn take_report(path: &Path) -> Json {
    let report = Json::read(&fs::read_to_string(path).unwrap());
    fs::remove_file(path).unwrap();
    let names = report.names().join(" ");
    assert_eq!(
        names,
        "server version arguments began seconds exit error input_ended lines answered_by \
         rate replies_per_second reply_time_ms connections connect_time_ms own_delay_ms outages outage_count \
         outage_seconds longest_outage_seconds"
    );
    let lines = report["lines"].names().join(" ");
    assert_eq!(
        lines,
        "acknowledged rejected wrong unacknowledged never_sent too_long sent_again"
    );
    let answered_by = &report["answered_by"];
    let counts = answered_by.names().into_iter();
    let total: f64 = counts.map(|prefix| answered_by[prefix].number()).sum();
    assert_eq!(total, report["lines"]["acknowledged"].number());
    for times in ["reply_time_ms", "connect_time_ms", "own_delay_ms"].map(|name| &report[name]) {
        if *times != Json::Null {
            assert_eq!(times.names().join(" "), "p50 p90 p99 p999 max");
            let names = times.names();
            let times = names.iter().map(|name| times[name].number());
            assert!(times.is_sorted(), "{report:?}");
        }
    }
    assert_ne!(report["own_delay_ms"], Json::Null);
    let outages = report["outages"].list();
    let seconds: f64 = outages
        .iter()
        .map(|outage| outage["seconds"].number())
        .sum();
    assert!(
        (report["outage_seconds"].number() - seconds).abs() < 0.001,
        "{report:?}"
    );
    for outage in outages {
        let own_delay = outage["own_delay_ms"].number() / 1000.0;
        assert!(own_delay <= outage["seconds"].number() + 1e-6, "{report:?}");
        assert_eq!(
            outage.names().join(" "),
            "began seconds cause sent_again own_delay_ms local remote"
        );
        assert!(outage["began"].number() >= report["began"].number());
        assert!(outage["seconds"].number() <= report["longest_outage_seconds"].number());
    }
    report
}

/// A row of a series: the cells by the names of their columns.
pub type Row = HashMap<String, f64>;

/// Reads the rows of a series without their empty cells, and asserts the series' shape.
#[track_caller]
pub fn read_series(text: &str) -> Vec<Row> {
    let mut lines = text
        .split_inclusive('\n')
        .map(|line| line.strip_suffix('\n').unwrap());
    let header = lines.next().unwrap_or_default();
    assert_eq!(
        header,
        "time,acknowledged,replies,replies_per_second,p50_ms,p99_ms,max_ms,in_flight,waiting_ms,\
         outage_seconds,own_delay_ms"
    );
    lines
        .map(|line| {
            assert_eq!(
                line.matches(',').count(),
                header.matches(',').count(),
                "{line}"
            );
            let cells = header.split(',').zip(line.split(','));
            let cells = cells.filter(|(_, cell)| !cell.is_empty());
            cells
                .map(|(name, cell)| (name.to_string(), cell.parse().unwrap()))
                .collect()
        })
        .collect()
}
