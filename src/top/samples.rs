//! Documents of an admin server, for tests.

/// An event of `/live` of a relay.
pub(super) fn live() -> String {
    let worker = |worker: usize, lag: &str, stuck: bool| {
        format!(
            "{{\"worker\":{worker},\"open\":8,\"accepted_per_second\":1.5,\"closed_per_second\":1,\
             \"messages_per_second\":1234.5,\"bytes_in_per_second\":20480,\"bytes_out_per_second\":1048576,\
             \"loop_lag_seconds\":{lag},\"stuck\":{stuck}}}"
        )
    };
    format!(
        "{{\"time\":\"2026-01-02T03:04:05.678Z\",\"uptime_seconds\":754.2,\"interval_seconds\":1,\
         \"command\":\"relay\",\"version\":\"0.1.0\",\"engine\":\"uring\",\"status\":\"stuck\",\"open\":24,\
         \"accepted_per_second\":40,\"closed_per_second\":39.5,\"messages_per_second\":3703.5,\
         \"bytes_in_per_second\":61440,\"bytes_out_per_second\":3145728,\"refused_per_second\":0,\
         \"faults_per_second\":1,\"loop_lag_seconds\":0.0012,\
         \"totals\":{{\"accepted\":100,\"closed\":76,\"refused\":7,\"messages\":9000,\"bytes_in\":1,\"bytes_out\":2,\
         \"faults\":4,\"faults_by_kind\":{{\"reset\":3,\"stall\":1}},\"closed_by_reason\":{{\"eof\":76}}}},\
         \"dialled\":{{\"open\":23,\"accepted_per_second\":38,\"closed_per_second\":39,\"messages_per_second\":3000,\
         \"bytes_in_per_second\":3145728,\"bytes_out_per_second\":61440}},\
         \"workers\":[{},{},{}],\"listeners\":[{{\"listener\":\"127.0.0.1:8889\",\"open\":24,\"accepted\":100,\
         \"refused\":7}}],\"process\":{{\"resident_bytes\":12582912,\"open_descriptors\":61,\
         \"most_descriptors\":1024,\"processors\":0.52}}}}",
        worker(0, "0.0012", false),
        worker(1, "null", false),
        worker(2, "4.5", true)
    )
}

/// A list of this many connections of more.
pub(super) fn list(count: u64) -> String {
    let row = |at: u64| {
        let tcp = match at % 4 {
            3 => "null".into(),
            _ => format!("{{\"rtt_seconds\":{},\"retransmits\":{},\"lost\":0}}", at as f64 * 1e-4, at % 3),
        };
        format!(
            "{{\"conn\":{at},\"direction\":\"{}\",\"peer\":\"127.0.0.1:{}\",\"local\":\"127.0.0.1:8889\",\
             \"listener\":null,\"worker\":{},\"state\":\"open\",\"age_seconds\":{},\"idle_seconds\":0.25,\
             \"bytes_in\":{},\"bytes_out\":{},\"messages\":{},\"unsent_bytes\":{},\"receive_queue_bytes\":0,\
             \"send_queue_bytes\":null,\"tcp\":{tcp}}}",
            if at.is_multiple_of(2) { "accepted" } else { "dialled" },
            40_000 + at,
            at % 3,
            100 * (count - at),
            1000 * at,
            77 * (at % 5),
            at * at,
            at % 2
        )
    };
    let rows: Vec<_> = (0..count).map(row).collect();
    format!("{{\"open\":47,\"sort\":\"conn\",\"complete\":true,\"connections\":[{}]}}", rows.join(","))
}
