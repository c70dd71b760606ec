//! The table at the end, and its JSON.

use crate::bench::{Bench, data, data_down};

#[test]
fn the_summary_is_a_table() {
    let mut bench = Bench::new("up: loss=100% @packet=3; duplicate=100%");
    (0..4_u32).for_each(|n| drop(bench.up(&data(n, 60))));
    bench.down(&data_down(1, 0));
    bench.up(b"no packet");
    let summary = bench.summary();
    assert_eq!(
        summary.to_string(),
        "packets              up  down\n\
         arrived               5     1\n\
         left                  4     2\n\
         dropped               3     0\n\
         made by the router    0     0\n\
         bytes arrived       409    40\n\
         bytes left          400    80\n\
         duplicate             2     1\n\
         loss                  2     0\n\
         unreadable            1     0\n"
    );
    let json = serde_json::to_value(&summary).unwrap();
    assert_eq!(json["up"]["dropped"], 3);
    assert_eq!(json["defects"][0], serde_json::json!({ "defect": "duplicate", "up": 2, "down": 1 }));
    assert_eq!(json["flows"], 1);
}
