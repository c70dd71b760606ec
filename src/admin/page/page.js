// The page of --admin. All that comes from the server is put in as text, never as markup.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const KEPT = 120;
const history = [];
const byId = (id) => document.getElementById(id);

function element(tag, text, className) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
}

// 1234567 as 1.23M; so many bytes in powers of 1024.
function short(value, base, units) {
    if (value === null || value === undefined) return "–";
    let step = 0;
    while (value >= base && step < units.length - 1) { value /= base; step++; }
    const digits = step === 0 && Number.isInteger(value) ? 0 : value < 10 ? 2 : value < 100 ? 1 : 0;
    return value.toFixed(digits) + units[step];
}
const count = (value) => short(value, 1000, ["", "k", "M", "G", "T"]);
const bytes = (value) => short(value, 1024, [" B", " KiB", " MiB", " GiB", " TiB"]);

function time(seconds) {
    if (seconds === null || seconds === undefined) return "–";
    if (seconds === 0) return "0";
    if (seconds < 1e-3) return (seconds * 1e6).toFixed(0) + " µs";
    if (seconds < 1) return (seconds * 1e3).toFixed(seconds < 0.01 ? 2 : 0) + " ms";
    if (seconds < 120) return seconds.toFixed(seconds < 10 ? 1 : 0) + " s";
    if (seconds < 7200) return (seconds / 60).toFixed(0) + " min";
    if (seconds < 172800) return (seconds / 3600).toFixed(0) + " h";
    return (seconds / 86400).toFixed(0) + " d";
}

function cards(event) {
    const shown = [
        ["open", count(event.open)],
        [event.command === "load" ? "connected/s" : "accepted/s", count(event.accepted_per_second)],
        ["closed/s", count(event.closed_per_second)],
        ["messages/s", count(event.messages_per_second)],
        ["in/s", bytes(event.bytes_in_per_second)],
        ["out/s", bytes(event.bytes_out_per_second)],
        ["loop lag", time(event.loop_lag_seconds)],
        ["memory", bytes(event.process.resident_bytes)],
    ];
    if (event.process.processors !== null) shown.push(["processors", event.process.processors.toFixed(2)]);
    if (event.process.open_descriptors !== null) shown.push(["descriptors", count(event.process.open_descriptors)]);
    if (event.totals.refused > 0) shown.push(["refused", count(event.totals.refused)]);
    if (event.totals.faults > 0) shown.push(["faults", count(event.totals.faults)]);
    byId("cards").replaceChildren(...shown.map(([name, value]) => {
        const card = element("div", undefined, "card");
        card.append(element("b", value), element("span", name));
        return card;
    }));
}

function chart(id, format, series) {
    const drawing = byId(id);
    const highest = Math.max(1e-9, ...series.flatMap(([, values]) => values));
    const ground = document.createElementNS(SVG, "line");
    for (const [name, value] of [["x1", 0], ["x2", 240], ["y1", 59], ["y2", 59]]) ground.setAttribute(name, value);
    const lines = series.map(([className, values]) => {
        const line = document.createElementNS(SVG, "polyline");
        line.setAttribute("class", className);
        const at = (value, index) => `${240 - 2 * (values.length - 1 - index)},${(58 - 55 * value / highest).toFixed(1)}`;
        line.setAttribute("points", values.map(at).join(" "));
        return line;
    });
    drawing.replaceChildren(ground, ...lines);
    const caption = drawing.parentElement.querySelector("figcaption");
    const output = caption.querySelector("output") || caption.appendChild(element("output"));
    output.textContent = "most " + format(highest < 1e-6 ? 0 : highest);
}

function table(id, columns, rows, nothing) {
    const head = element("tr");
    head.append(...columns.map(([name, , className]) => element("th", name, className)));
    const body = rows.map((row) => {
        const line = element("tr");
        line.append(...columns.map(([, value, className, isBad]) =>
            element("td", value(row), isBad && isBad(row) ? "bad" : className)));
        return line;
    });
    if (rows.length === 0) {
        const none = element("td", nothing, "none");
        none.colSpan = columns.length;
        body.push(element("tr"));
        body[0].append(none);
    }
    byId(id).replaceChildren(head, ...body);
}

const WORKERS = [
    ["worker", (row) => row.worker],
    ["open", (row) => count(row.open)],
    ["accepted/s", (row) => count(row.accepted_per_second)],
    ["closed/s", (row) => count(row.closed_per_second)],
    ["messages/s", (row) => count(row.messages_per_second)],
    ["in/s", (row) => bytes(row.bytes_in_per_second)],
    ["out/s", (row) => bytes(row.bytes_out_per_second)],
    ["loop lag", (row) => row.stuck ? "stuck" : time(row.loop_lag_seconds), undefined, (row) => row.stuck],
];

const tcp = (name, format) => (row) => row.tcp === null ? "–" : format(row.tcp[name]);
const CONNECTIONS = [
    ["peer", (row) => row.peer, "text"],
    ["state", (row) => row.direction === "dialled" ? row.state + ", dialled" : row.state, "text"],
    ["age", (row) => time(row.age_seconds)],
    ["idle", (row) => time(row.idle_seconds)],
    ["in", (row) => bytes(row.bytes_in)],
    ["out", (row) => bytes(row.bytes_out)],
    ["messages", (row) => count(row.messages)],
    ["rtt", tcp("rtt_seconds", time)],
    ["retransmits", tcp("retransmits", count), undefined, (row) => row.tcp !== null && row.tcp.retransmits > 0],
    ["cwnd", tcp("congestion_window", count)],
    ["to send", (row) => bytes((row.send_queue_bytes || 0) + row.unsent_bytes)],
    ["to read", (row) => bytes(row.receive_queue_bytes)],
    ["worker", (row) => row.worker],
];

function show(event) {
    history.push(event);
    if (history.length > KEPT) history.shift();
    const of = (name) => history.map((each) => each[name]);
    const where = event.listeners.map((each) => each.listener).join(", ");
    byId("title").textContent = `resound ${event.command}${where === "" ? "" : " on " + where}`;
    document.title = byId("title").textContent;
    byId("status").textContent = event.status;
    byId("status").className = "badge " + event.status;
    byId("about").textContent = `version ${event.version}, ${event.engine}, up ${time(event.uptime_seconds)}`;
    cards(event);
    chart("chart-messages", count, [["in", of("messages_per_second")]]);
    chart("chart-bytes", bytes, [["in", of("bytes_in_per_second")], ["out", of("bytes_out_per_second")]]);
    chart("chart-open", count, [["in", of("open")]]);
    chart("chart-turnover", count, [["in", of("accepted_per_second")], ["out", of("closed_per_second")]]);
    table("workers", WORKERS, event.workers, "none");
    const ends = Object.entries(event.totals.closed_by_reason).sort((a, b) => b[1] - a[1]);
    table("ends", [["reason", (row) => row[0].replaceAll("_", " "), "text"], ["connections", (row) => count(row[1])]],
        ends, "no connection has ended");
}

async function listed(query) {
    const answer = await fetch("connections?" + query);
    if (!answer.ok) throw new Error(answer.statusText);
    return answer.json();
}

async function connections() {
    try {
        const list = await listed(`limit=50&sort=${byId("sort").value}`);
        byId("count").textContent = list.open > list.connections.length ?
            `(${list.connections.length} of ${list.open})` : `(${list.open})`;
        table("connections", CONNECTIONS, list.connections, "no connection is open");
        const slow = await listed("limit=5&sort=rtt");
        table("slowest", CONNECTIONS, slow.connections, "no connection is open");
    } catch (error) {
        byId("count").textContent = "(no answer)";
    }
}

function gone() {
    byId("status").textContent = "no answer";
    byId("status").className = "badge gone";
}

const feed = new EventSource("live");
feed.onmessage = (message) => show(JSON.parse(message.data));
feed.onerror = gone;

async function refresh() {
    if (!document.hidden) await connections();
    setTimeout(refresh, 2000);
}
byId("sort").addEventListener("change", connections);
refresh();
