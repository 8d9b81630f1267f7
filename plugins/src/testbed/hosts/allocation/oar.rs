//! OAR's commands, and what their documentation says that they print: this was not tried on a real OAR.

use serde_json::{Map, Value};
use vexp_api::plugin::PluginError;

use super::call::{self, argv};
use super::options::Allocation;
use super::{ASK, END, LOOK, State};
use crate::batch::one_line;

/// States in which a job is over, or will be in a moment (oarstat(1)).
const OVER: [&str; 4] = ["Terminated", "Error", "toError", "Finishing"];

/// The command that asks for an allocation: a job that sleeps for as long as it may.
fn oarsub(allocation: &Allocation, name: &str) -> Vec<String> {
    let seconds = allocation.seconds();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let nodes = allocation.nodes;
    let mut command = argv(["oarsub", "--name", name, "--resource"]);
    let walltime = format!("{hours}:{minutes:02}:{:02}", seconds % 60);
    command.push(format!("/nodes={nodes},walltime={walltime}"));
    command.extend(argv(["--stdout", "/dev/null", "--stderr", "/dev/null"]));
    if let Some(queue) = &allocation.queue {
        command.extend(argv(["--queue", queue.as_str()]));
    }
    if let Some(account) = &allocation.account {
        command.extend(argv(["--project", account.as_str()]));
    }
    for kind in &allocation.types {
        command.extend(argv(["--type", kind.as_str()]));
    }
    let properties = allocation.properties.iter();
    let properties: Vec<_> = properties
        .map(|(name, value)| format!("{}='{}'", name.as_str(), value.as_str()))
        .collect();
    if !properties.is_empty() {
        command.extend(argv(["--property", &properties.join(" AND ")]));
    }
    command.push(format!("sleep {seconds}"));
    command
}

/// Asks; gives the job.
pub(super) async fn ask(allocation: &Allocation, name: &str) -> Result<String, PluginError> {
    let text = call::text(ASK, &oarsub(allocation, name)).await?;
    submitted(&text).ok_or_else(|| {
        let message = format!("oarsub has named no job: {}", one_line(&text));
        PluginError::new(ASK, "controller", message)
    })
}

fn submitted(stdout: &str) -> Option<String> {
    let mut jobs = stdout
        .lines()
        .filter_map(|line| line.trim().strip_prefix("OAR_JOB_ID="));
    let job = jobs.next()?.trim();
    super::is_job(job).then(|| job.to_owned())
}

fn parse(stdout: &str) -> Result<Map<String, Value>, String> {
    if stdout.trim().is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_str(stdout).map_err(|error| format!("oarstat has printed no JSON: {error}"))
}

fn doubtful(message: String) -> PluginError {
    PluginError::new(LOOK, "controller", message)
}

/// How a job is.
pub(super) async fn state(job: &str) -> Result<State, PluginError> {
    let command = argv(["oarstat", "--job", job, "--full", "--json"]);
    let text = call::text(LOOK, &command).await?;
    parse_state(&text, job).map_err(doubtful)
}

fn parse_state(stdout: &str, job: &str) -> Result<State, String> {
    let jobs = parse(stdout)?;
    let Some(found) = jobs.get(job) else {
        return Ok(State::Over("OAR does not know it".to_owned()));
    };
    let text = |field: &str| found.get(field).and_then(Value::as_str).unwrap_or_default();
    let state = text("state");
    let said = match text("message") {
        "" => state.to_owned(),
        message => format!("{state} ({})", one_line(message)),
    };
    match state {
        "" => Err(format!("oarstat says no state of job {job}")),
        "Running" => {
            let nodes = found.get("assigned_network_address");
            let nodes = nodes.and_then(Value::as_array);
            let nodes = nodes.ok_or_else(|| format!("oarstat names no nodes of job {job}"))?;
            let nodes: Vec<_> = nodes.iter().filter_map(Value::as_str).collect();
            Ok(State::Runs(nodes.join(",")))
        }
        state if OVER.contains(&state) => Ok(State::Over(said)),
        _ => Ok(State::Waits(said)),
    }
}

/// Names of nodes, each once, in their first order: a node file has a line for each processor.
pub(super) fn hosts<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut hosts: Vec<String> = Vec::new();
    for host in lines.map(str::trim).filter(|host| !host.is_empty()) {
        if !hosts.iter().any(|known| known == host) {
            hosts.push(host.to_owned());
        }
    }
    hosts
}

/// Our jobs of a name that are not over.
pub(super) async fn named(name: &str) -> Result<Vec<String>, PluginError> {
    let text = call::text(LOOK, &argv(["oarstat", "--user", "--full", "--json"])).await?;
    parse_jobs(&text, name).map_err(doubtful)
}

fn parse_jobs(stdout: &str, name: &str) -> Result<Vec<String>, String> {
    let of = |job: &Value, field: &str| job.get(field).and_then(Value::as_str).map(str::to_owned);
    let jobs = parse(stdout)?.into_iter().filter(|(id, job)| {
        let over = of(job, "state").is_some_and(|state| OVER.contains(&state.as_str()));
        super::is_job(id) && !over && of(job, "name").as_deref() == Some(name)
    });
    Ok(jobs.map(|(id, _)| id).collect())
}

/// Ends a job.
pub(super) async fn cancel(job: &str) -> Result<(), PluginError> {
    call::text(END, &argv(["oardel", job])).await.map(drop)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_says_what_is_asked_for() {
        let read = |value| serde_json::from_value::<Allocation>(value).unwrap();
        let plain = read(json!({"engine": "oar", "nodes": 2, "time": "90min"}));
        let wanted = "oarsub --name vexp-a --resource /nodes=2,walltime=1:30:00 --stdout /dev/null --stderr /dev/null \
                      sleep 5400";
        assert_eq!(oarsub(&plain, "vexp-a").join(" "), wanted);
        let all = read(json!({
            "engine": "oar", "nodes": 2, "time": "1s", "queue": "default", "account": "vexp",
            "types": ["deploy"], "properties": {"cluster": "dahu", "wattmeter": "YES"},
        }));
        let command = oarsub(&all, "a");
        let wanted = "--queue default --project vexp --type deploy --property cluster='dahu' AND wattmeter='YES' sleep 1";
        assert!(command.join(" ").ends_with(wanted), "{command:?}");
        assert_eq!(command.last().unwrap(), "sleep 1");
    }

    #[test]
    fn the_job_is_the_one_that_oarsub_names() {
        let text = "[ADMISSION RULE] Set default walltime to 3600.\nGenerate a job key...\nOAR_JOB_ID=42\n";
        assert_eq!(submitted(text).as_deref(), Some("42"));
        for none in [
            "",
            "OAR_JOB_ID=-5",
            "There are not enough resources for your request",
        ] {
            assert_eq!(submitted(none), None);
        }
    }

    #[test]
    fn a_job_is_what_oarstat_says() {
        let job = |state: &str| {
            json!({"42": {"state": state, "name": "vexp-a", "message": "R=2,W=1:0:0,J=B",
                "assigned_network_address": ["node-1", "node-2"]}})
            .to_string()
        };
        let of = |state| parse_state(&job(state), "42").unwrap();
        assert_eq!(of("Running"), State::Runs("node-1,node-2".to_owned()));
        let why = |state: &str| format!("{state} (R=2,W=1:0:0,J=B)");
        assert_eq!(of("Waiting"), State::Waits(why("Waiting")));
        assert_eq!(of("toLaunch"), State::Waits(why("toLaunch")));
        assert_eq!(of("Error"), State::Over(why("Error")));
        assert!(matches!(parse_state("", "42").unwrap(), State::Over(_)));
        assert!(parse_state("not JSON", "42").is_err());
        assert_eq!(parse_jobs(&job("Running"), "vexp-a").unwrap(), ["42"]);
        assert!(parse_jobs(&job("Running"), "vexp-b").unwrap().is_empty());
        assert!(parse_jobs(&job("Terminated"), "vexp-a").unwrap().is_empty());
    }

    #[test]
    fn a_node_file_names_each_node_once() {
        let file = "node-2\nnode-2\nnode-1\nnode-1\n\n";
        assert_eq!(hosts(file.lines()), ["node-2", "node-1"]);
    }
}
