//! docs/performance.md, from the JSON of the benchmarks.

use anyhow::{Result, bail};
use serde_json::Value;

/// The benchmarks' JSON, each as far as it is at hand.
#[derive(Debug, Default)]
pub struct Results {
    overhead: Option<Value>,
    scale: Option<Value>,
    agent: Option<Value>,
}

impl Results {
    /// Takes one in. Errors: it is of no benchmark that has a place on the page.
    pub fn add(&mut self, result: Value) -> Result<()> {
        let place = if result["rows"].is_array() {
            &mut self.overhead
        } else if result["many"].is_object() {
            &mut self.scale
        } else if result["requests_per_second_wanted"].is_number() {
            &mut self.agent
        } else {
            bail!("neither of `bench`, `bench scale` nor `bench agent`");
        };
        *place = Some(result);
        Ok(())
    }

    /// The page.
    pub fn page(&self) -> String {
        let mut page = "# What tracing costs\n\n\
            <!-- Written by `cargo xtask bench page`; change xtask/src/bench/page.rs instead. -->\n\n\
            Measured, with the misses: what does not hold is marked so. How to see where the time goes: \
            [profiling.md](profiling.md).\n"
            .to_owned();
        if let Some(overhead) = &self.overhead {
            page += &machine(overhead);
            page += &overhead_part(overhead);
        }
        if let Some(agent) = &self.agent {
            page += &agent_part(agent);
        }
        if let Some(scale) = &self.scale {
            page += &scale_part(scale);
        }
        page + "\n## Again\n\n```sh\n\
            cargo xtask bench --format json > overhead.json\n\
            cargo xtask bench agent --format json > agent.json\n\
            cargo xtask bench scale --format json > scale.json\n\
            cargo xtask bench page overhead.json agent.json scale.json > docs/performance.md\n```\n\n\
            As root, with `wrk`, `h2load` (package nghttp2-client) and, for the other tracers, `bpftrace`, \
            `libbpf-tools` and `tcpdump`. A tracer that is not installed is left out and named.\n"
    }
}

fn machine(result: &Value) -> String {
    let machine = &result["machine"];
    format!(
        "\n## Where\n\n{} cores of {}, Linux {}. Clients, proxy, backend and tracer share them.\n",
        machine["cores"],
        machine["cpu"].as_str().unwrap_or("an unknown processor"),
        machine["kernel"].as_str().unwrap_or("?"),
    )
}

fn overhead_part(result: &Value) -> String {
    let mut part = format!(
        "\n## What it costs the proxy\n\n\
         Each row: {} pairs of {} s with the tracer and without, in turn, {} connections of clients that ask as fast \
         as they can. \"left\" is the median of requests per second with it by those without; the spread is that of \
         the pairs. \"CPU\" is the time that the proxy's and the backend's process and the tracer's spend on \
         processors for one request, as the scheduler counts it; \"added\" is how much more that is with the tracer \
         than without, in the median pair: what a tracer costs in all, its programs and what leads to them. \"quiet\" \
         is the same for the quietest round with it and the quietest of all rounds of the load without: a neighbour \
         on the same hardware comes on top and never makes a request cheaper, so this is the steadiest of these \
         figures, and the one by which tracers are compared below. \"in kernel\" is the time of its programs for one request, all processes' calls counted, from \
         the kernel's statistics in as many runs of their own, of which the middle one is shown: they cost time \
         themselves, which is part of the figure (`floor` is what empty programs on the same hooks take).\n\n\
         | load | tracer | requests/s | left | spread | CPU | quiet | added | spread | in kernel | CPU of its process | its \
         memory |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        result["rounds"], result["slice_seconds"], result["connections"],
    );
    let percent = |value: &Value| {
        value
            .as_f64()
            .map_or(String::new(), |share| format!("{:.1} %", share * 100.0))
    };
    for row in array(&result["rows"]) {
        let spread = match array(&row["rps_ratio_spread"]) {
            [least, most] => format!("{} to {}", percent(least), percent(most)),
            _ => String::new(),
        };
        let us = |value: &Value| {
            value
                .as_f64()
                .map_or(String::new(), |ns| format!("{:.1} us", ns / 1e3))
        };
        let added = match array(&row["cpu_ns_added_spread"]) {
            [least, most] => format!("{} to {}", us(least), us(most)),
            _ => String::new(),
        };
        let number = |name: &str, by: f64, unit: &str| {
            row[name]
                .as_f64()
                .map_or(String::new(), |value| format!("{:.0}{unit}", value / by))
        };
        part += &format!(
            "| {} | {} | {} | {} | {spread} | {} | {} | {} | {added} | {} | {} | {} |\n",
            text(&row["scenario"]),
            text(&row["tool"]),
            number("rps_median", 1.0, ""),
            percent(&row["rps_ratio_median"]),
            us(&row["cpu_ns_per_request"]),
            us(&row["cpu_ns_added_quiet"]),
            us(&row["cpu_ns_added_median"]),
            number("kernel_ns_per_request", 1.0, " ns"),
            percent(&row["user_cpu_ratio"]),
            number("rss_bytes", 1e6, " MB"),
        );
    }
    part += &latencies(result);
    part += &hooks(result);
    part += &targets(result);
    part += "\n`why502-standby` is `why502 capture --standby`: as long as nothing fails it looks only at how responses to \
             clients begin, and so sees less than the peers; the first failure is explained by the counters of its \
             sockets, and those behind it as by `why502`, at the cost of that row ([agent.md](agent.md#standing-by)). \
             What connections take to open and close is the same in both. The backend runs on the same host here, and \
             `why502` looks at its half of each connection, too, which the scripts of bpftrace leave out; \
             `why502-proxy` is `why502 capture --role proxy`, which does not: what it costs where \
             backends are elsewhere.\n";
    part += &noise(result);
    for why in array(&result["missing"]) {
        part += &format!("\nNot measured: {}.\n", text(why));
    }
    part
}

/// How much of a difference in requests per second this run can tell at all.
fn noise(result: &Value) -> String {
    let floor = array(&result["rows"])
        .iter()
        .find(|row| row["tool"] == "floor");
    let spread = floor.map_or(&[][..], |row| array(&row["rps_ratio_spread"]));
    let [least, most] = spread else {
        return String::new();
    };
    let percent = |share: &Value| share.as_f64().unwrap_or_default() * 100.0;
    format!(
        "\nEmpty programs alone left {:.0} to {:.0} % of the requests per second in the pairs of the first load: where \
         that is far from 100, a share of 98 % is neither shown nor refuted by this run.\n",
        percent(least),
        percent(most)
    )
}

fn latencies(result: &Value) -> String {
    let mut rows = String::new();
    for row in array(&result["rows"]) {
        let found = &row["latency"];
        if !found.is_object() {
            continue;
        }
        let us = |value: &Value| format!("{:.0}", value.as_f64().unwrap_or_default());
        let spread = match array(&found["p99_us_spread_without"]) {
            [least, most] => format!("{} to {}", us(least), us(most)),
            _ => String::new(),
        };
        rows += &format!(
            "| {} | {} | {} | {} | {} | {} | {spread} |\n",
            text(&row["scenario"]),
            text(&row["tool"]),
            us(&found["with"]["per_second"]),
            us(&found["with"]["p50_us"]),
            us(&found["without"]["p50_us"]),
            us(&found["with"]["p99_us"]),
        );
    }
    if rows.is_empty() {
        return rows;
    }
    format!(
        "\nAt half of the rate, each request due at a fixed time and measured from then on (a wait before it counts, \
         so nothing is omitted), us; the last column is of all rounds of the load without a tracer:\n\n\
         | load | tracer | requests/s | p50 | p50 without | p99 | p99 without |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: |\n{rows}"
    )
}

/// The hooks of why502 in each load.
fn hooks(result: &Value) -> String {
    let mut rows = String::new();
    for row in array(&result["rows"]) {
        if !text(&row["tool"]).starts_with("why502") {
            continue;
        }
        for (name, program) in row["kernel_programs"].as_object().into_iter().flatten() {
            let calls = program["calls_per_request"].as_f64().unwrap_or_default();
            if calls < 0.01 {
                continue;
            }
            rows += &format!(
                "| {} | {} | `{name}` | {calls:.2} | {:.0} ns |\n",
                text(&row["scenario"]),
                text(&row["tool"]),
                program["ns_per_call"].as_f64().unwrap_or_default(),
            );
        }
    }
    format!(
        "\nBy hook (the kernel cuts names at 15 bytes). Half of the calls are those of the load generator and of the \
         backend, which why502 leaves at once:\n\n\
         | load | tracer | program | calls for a request | one call |\n| --- | --- | --- | ---: | ---: |\n{rows}"
    )
}

fn agent_part(result: &Value) -> String {
    format!(
        "\n## The agent while all is well\n\n\
         `why502 agent` with its defaults beside an NGINX that passes {} healthy requests a second on.\n{}",
        result["requests_per_second_wanted"],
        targets(result)
    )
}

fn scale_part(result: &Value) -> String {
    let (many, burst) = (&result["many"], &result["burst"]);
    format!(
        "\n## When there is much\n\n\
         Connections of clients that are open, connections to one server that carry a request each, and a backend \
         that is gone. In the last, half of the cases that are written one by one stand in the output {:.0} ms behind \
         their end, all within {:.0} ms; the process takes {:.0} % of a core and at most {:.1} MB. The kernel holds \
         {:.0} MB of tables and ring buffer before the many connections, and {:.0} MB with them.\n{}",
        burst["delay_ms_median"].as_f64().unwrap_or_default(),
        burst["delay_ms_most"].as_f64().unwrap_or_default(),
        burst["user_cpu_ratio"].as_f64().unwrap_or_default() * 100.0,
        burst["peak_rss_bytes"].as_f64().unwrap_or_default() / 1e6,
        many["kernel_bytes_before"].as_f64().unwrap_or_default() / 1e6,
        many["kernel_bytes"].as_f64().unwrap_or_default() / 1e6,
        targets(result)
    )
}

fn targets(result: &Value) -> String {
    let line = |target: &Value| {
        let held = match target["held"].as_bool() {
            Some(true) => "held",
            _ => "**missed**",
        };
        format!("- {held}: {}\n", text(&target["what"]))
    };
    let lines: String = array(&result["targets"]).iter().map(line).collect();
    format!("\n{lines}")
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missed_is_said() {
        let mut results = Results::default();
        assert!(results.add(json!({"a": 1})).is_err());
        let row = json!({
            "scenario": "nginx-small", "tool": "why502", "rps_median": 900.4, "rps_ratio_median": 0.991,
            "rps_ratio_spread": [0.98, 1.0], "kernel_ns_per_request": 1500.0,
            "cpu_ns_per_request": 21000.0, "cpu_ns_added_quiet": 1800.0, "cpu_ns_added_median": 2040.0, "cpu_ns_added_spread": [-100.0, 2500.0],
            "kernel_programs": {"sock_send_lengt": {"calls_per_request": 4.0, "ns_per_call": 200.0}},
            "latency": {
                "with": {"per_second": 450.0, "p50_us": 80.0, "p99_us": 200.0},
                "without": {"per_second": 450.0, "p50_us": 79.0, "p99_us": 190.0},
                "p99_us_spread_without": [180.0, 210.0],
            },
        });
        let floor =
            json!({"scenario": "nginx-small", "tool": "floor", "rps_ratio_spread": [0.85, 1.2]});
        let targets = json!([{"what": "a", "held": true}, {"what": "b", "held": false}]);
        let machine = json!({"cores": 2, "cpu": "x", "kernel": "6.1"});
        results
            .add(
                json!({"machine": machine, "rows": [row, floor], "targets": targets, "missing": ["no y"]}),
            )
            .unwrap();
        let page = results.page();
        for part in [
            "| nginx-small | why502 | 900 | 99.1 % | 98.0 % to 100.0 % | 21.0 us | 1.8 us | 2.0 us | -0.1 us to 2.5 us \
             | 1500 ns |",
            "| nginx-small | why502 | 450 | 80 | 79 | 200 | 180 to 210 |",
            "| nginx-small | why502 | `sock_send_lengt` | 4.00 | 200 ns |",
            "- held: a\n- **missed**: b\n",
            "Empty programs alone left 85 to 120 % of the requests",
            "Not measured: no y.",
        ] {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
        assert!(!page.contains("When there is much"));
    }
}
