//! What the client writes for `--report`.

use std::fs;
use std::path::Path;

use super::Json;

/// Reads a report and asserts its shape. The file is gone afterwards.
#[track_caller]
pub fn take_report(path: &Path) -> Json {
    let report = Json::read(&fs::read_to_string(path).unwrap());
    fs::remove_file(path).unwrap();
    let names = report.names().join(" ");
    assert_eq!(
        names,
        "server version arguments began seconds exit error input_ended lines answered_by \
         replies_per_second reply_time_ms own_delay_ms outages outage_count longest_outage_seconds"
    );
    let lines = report["lines"].names().join(" ");
    assert_eq!(
        lines,
        "acknowledged rejected wrong unacknowledged unsent not_sent sent_again"
    );
    let answered_by = &report["answered_by"];
    let counts = answered_by.names().into_iter();
    let total: f64 = counts.map(|prefix| answered_by[prefix].number()).sum();
    assert_eq!(total, report["lines"]["acknowledged"].number());
    for times in [&report["reply_time_ms"], &report["own_delay_ms"]] {
        if *times != Json::Null {
            assert_eq!(times.names().join(" "), "p50 p90 p99 p999 max");
            let names = times.names();
            let times = names.iter().map(|name| times[name].number());
            assert!(times.is_sorted(), "{report:?}");
        }
    }
    assert_ne!(report["own_delay_ms"], Json::Null);
    for outage in report["outages"].list() {
        assert_eq!(
            outage.names().join(" "),
            "began seconds cause sent_again own_delay_ms local remote"
        );
        assert!(outage["began"].number() >= report["began"].number());
        assert!(outage["seconds"].number() <= report["longest_outage_seconds"].number());
    }
    report
}
