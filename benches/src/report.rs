//! The table and the plot.

use std::fmt::{self, Write};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// What one run of one server showed.
pub(crate) struct Figures {
    pub(crate) rate: f64,
    pub(crate) cpu: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Bytes of each connection that has spoken once.
    pub(crate) memory: f64,
    /// From the start of the process to the first answer.
    pub(crate) start: Duration,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>9.0}/s {:>6.2} us of CPU, p50 {:>8.1} us, p99 {:>8.1} us",
            self.rate, self.cpu, self.p50, self.p99
        )
    }
}

type Cell = (usize, usize, usize);

pub(crate) struct Report {
    rounds: u64,
    time: Duration,
    rows: Vec<(Cell, &'static str, Figures)>,
    accepts: Vec<(&'static str, f64)>,
    machine: String,
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Report {
    pub(crate) fn new(rounds: u64, time: Duration) -> Self {
        Self {
            rounds,
            time,
            rows: Vec::new(),
            accepts: Vec::new(),
            machine: machine(),
        }
    }

    pub(crate) fn add(&mut self, cell: Cell, server: &'static str, runs: &[Figures]) {
        let of = |figure: fn(&Figures) -> f64| median(runs.iter().map(figure));
        let figures = Figures {
            rate: of(|run| run.rate),
            cpu: of(|run| run.cpu),
            p50: of(|run| run.p50),
            p99: of(|run| run.p99),
            memory: of(|run| run.memory),
            start: Duration::from_secs_f64(of(|run| run.start.as_secs_f64())),
        };
        self.rows.push((cell, server, figures));
    }

    pub(crate) fn add_accepts(&mut self, server: &'static str, runs: Vec<f64>) {
        self.accepts.push((server, median(runs.into_iter())));
    }

    pub(crate) fn write(&self) {
        write_result("echo.md", &self.table());
        write_result("cost.svg", &self.plot());
        println!("{}", self.table());
    }

    fn table(&self) -> String {
        let mut text = format!(
            "# Echo servers side by side\n\n{}\n\nMedians of {} rounds of {:.1} s, servers in turns, one thread \
             each on a processor of its own, the \
             generator on another.\nCPU is what the server's own clock says for each message, the kernel's work for \
             it included. Two runs of \
             one server may differ by a tenth.\n",
            self.machine,
            self.rounds,
            self.time.as_secs_f64()
        );
        let mut last = None;
        for ((connections, depth, bytes), server, run) in &self.rows {
            let cell = (connections, depth, bytes);
            if last.replace(cell) != Some(cell) {
                let _ = write!(
                    text,
                    "\n## {connections} connections, {depth} deep, {bytes} bytes\n\n| server | messages/s | CPU \
                     us/message | p50 us | p99 us | \
                     bytes/connection |\n| --- | ---: | ---: | ---: | ---: | ---: |\n"
                );
            }
            let _ = writeln!(
                text,
                "| {server} | {:.0} | {:.2} | {:.1} | {:.1} | {:.0} |",
                run.rate, run.cpu, run.p50, run.p99, run.memory
            );
        }
        text += "\n## Connect, one echo, close; and the start\n\n| server | connections/s | first answer after ms \
            |\n| --- | ---: | ---: |\n";
        for (server, rate) in &self.accepts {
            let starts = self
                .rows
                .iter()
                .filter(|row| row.1 == *server)
                .map(|row| row.2.start.as_secs_f64());
            let _ = writeln!(text, "| {server} | {rate:.0} | {:.1} |", median(starts) * 1e3);
        }
        text
    }

    /// How the cost of a message grows with the number of connections.
    fn plot(&self) -> String {
        let small = |cell: &Cell| cell.1 == 1 && cell.2 == 64;
        let most = self
            .rows
            .iter()
            .filter(|row| small(&row.0))
            .map(|row| row.2.cpu)
            .fold(1.0, f64::max)
            * 1.1;
        let x = |connections: usize| 70.0 + (connections as f64).log10() / 4.0 * 500.0;
        let y = |cpu: f64| 330.0 - cpu / most * 290.0;
        let mut svg = String::from(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"760\" height=\"390\" font-family=\"sans-serif\" \
             font-size=\"12\">\n\
             <rect width=\"760\" height=\"390\" fill=\"white\"/>\n\
             <text x=\"70\" y=\"22\" font-size=\"14\">CPU of the server for each 64-byte message</text>\n\
             <text x=\"290\" y=\"378\">connections</text>\n<text x=\"12\" y=\"34\">us</text>\n",
        );
        for connections in [1, 10, 100, 1_000, 10_000] {
            let at = x(connections);
            let _ = writeln!(
                svg,
                "<line x1=\"{at:.0}\" y1=\"40\" x2=\"{at:.0}\" y2=\"330\" stroke=\"#ddd\"/>"
            );
            let _ = writeln!(
                svg,
                "<text x=\"{at:.0}\" y=\"350\" text-anchor=\"middle\">{connections}</text>"
            );
        }
        for step in 0..=5 {
            let cpu = most / 5.0 * f64::from(step);
            let _ = writeln!(
                svg,
                "<line x1=\"70\" y1=\"{0:.0}\" x2=\"570\" y2=\"{0:.0}\" stroke=\"#ddd\"/>",
                y(cpu)
            );
            let _ = writeln!(
                svg,
                "<text x=\"62\" y=\"{:.0}\" text-anchor=\"end\">{cpu:.1}</text>",
                y(cpu) + 4.0
            );
        }
        let colours = ["#c03", "#06c", "#444", "#e80", "#083", "#808"];
        for (number, (server, _)) in self.accepts.iter().enumerate() {
            let colour = colours[number % colours.len()];
            let points: Vec<(f64, f64)> = self
                .rows
                .iter()
                .filter(|row| row.1 == *server && small(&row.0))
                .map(|row| (x(row.0.0), y(row.2.cpu)))
                .collect();
            let line: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                line.join(" ")
            );
            for (x, y) in points {
                let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
            }
            let at = 60 + 20 * number;
            let _ = writeln!(
                svg,
                "<rect x=\"590\" y=\"{}\" width=\"12\" height=\"12\" fill=\"{colour}\"/>",
                at - 10
            );
            let _ = writeln!(svg, "<text x=\"608\" y=\"{at}\">{server}</text>");
        }
        svg + "</svg>\n"
    }
}

/// Writes a file in the folder of results.
pub(crate) fn write_result(name: &str, text: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    fs::create_dir_all(&folder).expect("the folder of results");
    fs::write(folder.join(name), text).expect("the results");
}

/// What this was measured on.
pub(crate) fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split(": ").nth(1));
    let count = info.lines().filter(|line| line.starts_with("processor")).count();
    let release = read("/proc/sys/kernel/osrelease");
    let kernel = release.trim().split('-').next().unwrap_or_default();
    let congestion = read("/proc/sys/net/ipv4/tcp_congestion_control");
    // The last minute's, before the first run: what else the machine had to do.
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    format!(
        "{} x {}{}, Linux {kernel}, congestion control {}, load average {load} before the start.",
        count,
        model.unwrap_or("unknown processor"),
        if info.contains("hypervisor") { ", virtual" } else { "" },
        congestion.trim()
    )
}
