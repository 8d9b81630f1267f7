//! QEMU's machine protocol: a line of JSON each way (docs/interop/qmp-spec in QEMU's sources).

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::run::LabError;

/// How long an answer may take; the longest pause is while devices are saved.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);
/// How long all of the memory may take.
const MEMORY_DEADLINE: Duration = Duration::from_secs(120);
/// How long a machine may be busy before it is kept.
const REST_DEADLINE: Duration = Duration::from_secs(30);
/// Threads that read or write memory.
const CHANNELS: u32 = 2;
/// What is being done while words are exchanged.
const STEP: &str = "talk to the emulator";

/// A conversation.
pub(in crate::testbed) struct Qmp {
    words: BufReader<UnixStream>,
    /// Whether the last that was said of it is that it has stopped.
    stopped: bool,
    /// Answers that nobody waited for and that are still to come.
    unheard: u32,
}

impl Qmp {
    /// Connects as soon as there is somebody; `runs` says whether there still will be.
    pub(in crate::testbed) fn connect(
        socket: &Path,
        mut runs: impl FnMut() -> bool,
    ) -> Result<Self, LabError> {
        let began = Instant::now();
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) if !runs() || began.elapsed() > ANSWER_DEADLINE => {
                    return Err(LabError::io(STEP)(error));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let timeout = stream.set_read_timeout(Some(ANSWER_DEADLINE));
        timeout.map_err(LabError::io(STEP))?;
        let mut qmp = Self {
            words: BufReader::new(stream),
            unheard: 0,
            stopped: false,
        };
        let greeting = qmp.line()?;
        if greeting.get("QMP").is_none() {
            return Err(unexpected(&greeting));
        }
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Its version, `10.0.2 (Debian …)`.
    pub(super) fn version(&mut self) -> Result<String, LabError> {
        let said = self.execute("query-version", json!({}))?;
        let part = |name: &str| said["qemu"][name].to_string();
        let package = said["package"].as_str().unwrap_or_default();
        let number = ["major", "minor", "micro"].map(part).join(".");
        Ok(format!("QEMU {number} ({package})"))
    }

    /// Writes the running machine to a file, and lets it go on whatever comes of it. One with guests
    /// of its own in nested virtualization is written at a moment when its processors rest: QEMU
    /// refuses to restore a processor that was inside of a guest ("vCPU set in guest-mode
    /// inconsistent with migrated kernel nested state", target/i386/machine.c).
    pub(super) fn save(&mut self, file: &Path, nested: bool) -> Result<(), LabError> {
        let began = Instant::now();
        loop {
            self.execute("stop", json!({}))?;
            if !nested || self.rests()? {
                break;
            }
            self.execute("cont", json!({}))?;
            if began.elapsed() > REST_DEADLINE {
                let seconds = REST_DEADLINE.as_secs();
                let message = format!("its processors were never at rest in {seconds} s");
                return Err(LabError::new("keep the machine", message));
            }
            std::thread::sleep(Duration::from_millis(3));
        }
        let saved = self.write(file);
        self.go_on()?;
        saved
    }

    /// Writes a machine that stands still to a file.
    pub(in crate::testbed) fn write(&mut self, file: &Path) -> Result<(), LabError> {
        self.migrate("migrate", file)
    }

    /// The same without waiting for the answer: an emulator in lockstep may give none before others go on, too. The
    /// conversation must stay open until then.
    pub(in crate::testbed) fn tell_go_on(&mut self) -> Result<(), LabError> {
        let mut stream = self.words.get_ref();
        self.unheard += 1;
        writeln!(stream, "{}", json!({"execute": "cont"})).map_err(LabError::io(STEP))
    }

    /// Lets a machine that stands still go on.
    pub(in crate::testbed) fn go_on(&mut self) -> Result<(), LabError> {
        self.execute("cont", json!({})).map(drop)
    }

    /// The next thing that is said, and what it says of the machine.
    fn said(&mut self) -> Result<Value, LabError> {
        let said = self.line()?;
        match said["event"].as_str() {
            Some("STOP") => self.stopped = true,
            Some("RESUME") => self.stopped = false,
            _ => {}
        }
        Ok(said)
    }

    /// Whether all processors of the stopped machine wait for an interrupt. A guest's own wait is its
    /// host's to see, so that none of them is inside of a guest.
    fn rests(&mut self) -> Result<bool, LabError> {
        let ask = json!({"command-line": "info registers -a"});
        let said = self.execute("human-monitor-command", ask)?;
        let flags = said.as_str().unwrap_or_default();
        let states: Vec<&str> = (flags.split_whitespace())
            .filter_map(|word| word.strip_prefix("HLT="))
            .collect();
        if states.is_empty() {
            return Err(unexpected(&said));
        }
        Ok(states.iter().all(|halted| *halted == "1"))
    }

    /// Reads a machine that was started with `-incoming defer` from a file.
    pub(in crate::testbed) fn restore(&mut self, file: &Path) -> Result<(), LabError> {
        self.migrate("migrate-incoming", file)
    }

    /// `mapped-ram` gives each page its own place in the file, so that pages of zeros are holes
    /// and several threads can work at once. Nothing is announced to switches, which are new as well:
    /// it would be traffic at moments that are not the machine's.
    fn migrate(&mut self, command: &str, file: &Path) -> Result<(), LabError> {
        let on = |name: &str| json!({"capability": name, "state": true});
        self.execute(
            "migrate-set-capabilities",
            json!({"capabilities": [on("mapped-ram"), on("multifd")]}),
        )?;
        self.execute(
            "migrate-set-parameters",
            json!({"multifd-channels": CHANNELS, "announce-rounds": 0}),
        )?;
        self.execute(command, json!({"uri": format!("file:{}", file.display())}))?;
        let began = Instant::now();
        loop {
            let said = self.execute("query-migrate", json!({}))?;
            match said["status"].as_str() {
                Some("completed") => return Ok(()),
                Some("failed" | "cancelled") => return Err(unexpected(&said)),
                _ if began.elapsed() > MEMORY_DEADLINE => {
                    return Err(unexpected(&said));
                }
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Asks for something and gives what comes back.
    fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, LabError> {
        let line = json!({"execute": command, "arguments": arguments});
        let mut stream = self.words.get_ref();
        writeln!(stream, "{line}").map_err(LabError::io(STEP))?;
        loop {
            let mut said = self.said()?;
            if let Some(value) = said.get_mut("return") {
                if self.unheard == 0 {
                    return Ok(value.take());
                }
                self.unheard -= 1;
                continue;
            }
            if said.get("event").is_none() {
                return Err(LabError::new(STEP, format!("`{command}`: {said}")));
            }
        }
    }

    fn line(&mut self) -> Result<Value, LabError> {
        let mut line = String::new();
        self.words
            .read_line(&mut line)
            .map_err(LabError::io(STEP))?;
        serde_json::from_str(&line).map_err(|_| unexpected(&line.into()))
    }
}

fn unexpected(said: &Value) -> LabError {
    LabError::new(STEP, format!("it said {said}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// Says `answers` one after another, each when it was asked something, and gives the questions.
    fn talk(answers: &[&str], ask: impl FnOnce(Qmp)) -> Vec<Value> {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("qmp");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::scope(|scope| {
            let server = scope.spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                writeln!(
                    stream,
                    r#"{{"QMP": {{"version": {{}}, "capabilities": []}}}}"#
                )
                .unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let mut asked = Vec::new();
                for answer in [&r#"{"return": {}}"#].into_iter().chain(answers) {
                    let Some(line) = lines.next() else { break };
                    asked.push(serde_json::from_str(&line.unwrap()).unwrap());
                    // Whoever has heard enough may be gone.
                    if writeln!(stream, "{answer}").is_err() {
                        break;
                    }
                }
                asked
            });
            ask(Qmp::connect(&socket, || true).unwrap());
            server.join().unwrap()
        })
    }

    const DONE: &str = r#"{"return": {}}"#;
    /// As QEMU 10.0 says them.
    const STOPPED: &str = "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \
        \"event\": \"STOP\"}\n{\"return\": {}}";
    const ACTIVE: &str = r#"{"return": {"status": "active", "total-time": 2}}"#;
    const COMPLETED: &str = r#"{"return": {"status": "completed", "total-time": 700}}"#;
    const FAILED: &str = r#"{"return": {"status": "failed", "error-desc": "No space left"}}"#;

    fn commands(asked: &[Value]) -> Vec<&str> {
        asked
            .iter()
            .map(|q| q["execute"].as_str().unwrap())
            .collect()
    }

    #[test]
    fn saving_stops_writes_and_goes_on() {
        let answers = [STOPPED, DONE, DONE, DONE, ACTIVE, COMPLETED, DONE];
        let asked = talk(&answers, |mut qmp| {
            qmp.save(Path::new("/s/ram"), false).unwrap()
        });
        assert_eq!(
            commands(&asked)[1..],
            [
                "stop",
                "migrate-set-capabilities",
                "migrate-set-parameters",
                "migrate",
                "query-migrate",
                "query-migrate",
                "cont"
            ]
        );
        assert_eq!(asked[4]["arguments"]["uri"], "file:/s/ram");
    }

    #[test]
    fn one_with_nested_guests_is_saved_when_its_processors_rest() {
        let busy =
            r#"{"return": "CPU#0\r\nRIP=ffffffff81 RFL=2 CPL=0 II=0 A20=1 SMM=0 HLT=0\r\n"}"#;
        let rests = busy.replace("HLT=0", "HLT=1");
        let answers = [
            STOPPED, busy, DONE, STOPPED, &rests, DONE, DONE, DONE, COMPLETED, DONE,
        ];
        let asked = talk(&answers, |mut qmp| {
            qmp.save(Path::new("/s/ram"), true).unwrap();
        });
        let ask = "human-monitor-command";
        let begun = ["stop", ask, "cont", "stop", ask, "migrate-set-capabilities"];
        assert_eq!(commands(&asked)[1..7], begun);
        let odd = [STOPPED, r#"{"return": "no registers"}"#];
        talk(&odd, |mut qmp| {
            drop(qmp.save(Path::new("/s/ram"), true).unwrap_err());
        });
    }

    #[test]
    fn a_machine_that_cannot_be_saved_goes_on() {
        let answers = [STOPPED, DONE, DONE, DONE, FAILED, DONE];
        let asked = talk(&answers, |mut qmp| {
            let error = qmp.save(Path::new("/s/ram"), false).unwrap_err();
            assert!(error.to_string().contains("No space left"), "{error}");
        });
        assert_eq!(commands(&asked).last(), Some(&"cont"));
    }

    #[test]
    fn restoring_reads_and_goes_on() {
        let answers = [DONE, DONE, DONE, COMPLETED, DONE];
        let asked = talk(&answers, |mut qmp| {
            qmp.restore(Path::new("/s/ram")).unwrap();
            qmp.go_on().unwrap();
        });
        assert_eq!(
            commands(&asked)[3..],
            ["migrate-incoming", "query-migrate", "cont"]
        );
    }

    #[test]
    fn what_it_refuses_is_an_error_with_its_words() {
        let refused = r#"{"error": {"class": "GenericError", "desc": "no such thing"}}"#;
        talk(&[refused], |mut qmp| {
            let error = qmp.version().unwrap_err();
            assert!(error.to_string().contains("no such thing"), "{error}");
        });
        talk(&["not JSON"], |mut qmp| drop(qmp.version().unwrap_err()));
        let missing = Qmp::connect(Path::new("/nonexistent/qmp"), || false);
        assert!(missing.is_err());
    }

    #[test]
    fn its_version_in_words() {
        let said = r#"{"return": {"qemu": {"micro": 2, "minor": 0, "major": 10},
            "package": "Debian 1:10.0.2+ds-2"}}"#
            .replace('\n', " ");
        talk(&[&said], |mut qmp| {
            assert_eq!(qmp.version().unwrap(), "QEMU 10.0.2 (Debian 1:10.0.2+ds-2)");
        });
    }

    #[test]
    fn changed_answers_of_an_emulator_are_read_or_refused() {
        let version =
            r#"{"return": {"qemu": {"micro": 3, "minor": 0, "major": 10}, "package": ""}}"#;
        vexp_testkit::hostile::on_changed_text(24, version, |answer| {
            talk(&[answer], |mut qmp| drop(qmp.version()));
            talk(&[answer], |mut qmp| drop(qmp.rests()));
        });
    }
}
