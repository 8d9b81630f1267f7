//! Ways to change a bundle, with digests that are right.

use std::path::Path;

use serde_json::Value;
use vexp_api::digest::{Digest, canonical_json};

/// Replaces text in a file, which must be there.
fn replace(there: &Path, file: &str, from: &str, to: &str) {
    let path = there.join(file);
    let before = std::fs::read_to_string(&path).unwrap();
    assert!(before.contains(from), "{file} has no `{from}`");
    std::fs::write(path, before.replacen(from, to, 1)).unwrap();
}

fn append(there: &Path, file: &str, more: &str) {
    let mut bytes = std::fs::read(there.join(file)).unwrap();
    bytes.extend(more.as_bytes());
    std::fs::write(there.join(file), bytes).unwrap();
}

const TRIAL: &str = "run/trials/send.linux.v0.r1/trial.json";
const RAW: &str = "run/trials/send.linux.v0.r1/raw/host.iperf3.client.json";

/// Changes raw data and the digest in the trial's record.
fn falsify(there: &Path) {
    let before = Digest::of(&std::fs::read(there.join(RAW)).unwrap());
    let text = std::fs::read_to_string(there.join(RAW)).unwrap();
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            let mut value: Value = serde_json::from_str(line).unwrap();
            if let Some(bytes) = value.pointer("/data/sum/bytes").and_then(Value::as_u64) {
                value["data"]["sum"]["bytes"] = (bytes * 2).into();
            }
            for stream in value
                .pointer_mut("/data/streams")
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                if let Some(bytes) = stream["bytes"].as_u64() {
                    stream["bytes"] = (bytes * 2).into();
                }
            }
            format!(
                "{{\"event\":{},\"data\":{}}}\n",
                value["event"], value["data"]
            )
        })
        .collect();
    std::fs::write(there.join(RAW), lines.concat()).unwrap();
    let after = Digest::of(&std::fs::read(there.join(RAW)).unwrap());
    replace(there, TRIAL, &before.to_string(), &after.to_string());
}

/// Takes the last trial out of the plan.
fn hide_a_trial(there: &Path) {
    let path = there.join("run/plan.json");
    let mut plan: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    plan["blocks"][0]["trials"]
        .as_array_mut()
        .unwrap()
        .pop()
        .unwrap();
    std::fs::write(path, canonical_json(&plan).unwrap() + "\n").unwrap();
}

fn never_ending(there: &Path) {
    std::fs::create_dir(there.join("templates")).unwrap();
    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
    std::fs::write(there.join("templates/report.html.j2"), endless).unwrap();
    replace(
        there,
        "export.json",
        "\"templates\":false",
        "\"templates\":true",
    );
}

pub(crate) type Tampering = (&'static str, i32, &'static str, fn(&Path));

/// What is done to the unpacked bundle, the exit code, and what is said of it.
pub(crate) const TAMPERINGS: &[Tampering] = &[
    (
        "verdict",
        1,
        "claim pv: reproduced in the bundle, not tested by its data",
        |t| {
            replace(
                t,
                "run/frames/claims.json",
                "\"not-tested\"",
                "\"reproduced\"",
            );
        },
    ),
    (
        "verdict against the data",
        1,
        "claim wire: not reproduced in the bundle, inconclusive by its data",
        |t| {
            replace(
                t,
                "run/frames/claims.json",
                "\"inconclusive\"",
                "\"not-reproduced\"",
            );
        },
    ),
    ("no verdicts", 1, "claim pv: missing in the bundle", |t| {
        std::fs::write(t.join("run/frames/claims.json"), "{}").unwrap();
    }),
    ("metric", 1, "run/frames/metrics.json differs", |t| {
        replace(t, "run/frames/metrics.json", "\"value\":", "\"value\":1");
    }),
    ("samples", 1, "run/frames/samples.parquet differs", |t| {
        append(t, "run/frames/samples.parquet", "x")
    }),
    ("report", 1, "run/report/report.html differs", |t| {
        append(t, "run/report/report.html", "<p>All is well.")
    }),
    (
        "report is missing",
        1,
        "run/report/report.html is missing in the bundle",
        |t| {
            std::fs::remove_file(t.join("run/report/report.html")).unwrap();
        },
    ),
    (
        "more in the report",
        1,
        "run/report/figures/figure-99.svg does not follow from the run",
        |t| {
            std::fs::create_dir_all(t.join("run/report/figures")).unwrap();
            std::fs::write(t.join("run/report/figures/figure-99.svg"), "<svg/>").unwrap();
        },
    ),
    (
        "a file of its own",
        1,
        "run.sh does not follow from the run",
        |t| {
            std::fs::write(t.join("run.sh"), "#!/bin/sh\n").unwrap();
        },
    ),
    (
        "study's file",
        1,
        "run/study.json is not what the study's files say",
        |t| {
            replace(
                t,
                "run/source/e2e.ncl",
                "Every layer once",
                "Every layer twice",
            );
        },
    ),
    (
        "study's file that is none",
        1,
        "run/study.json its files can't be evaluated",
        |t| {
            append(t, "run/source/e2e.ncl", "}");
        },
    ),
    (
        "study that reads other files",
        1,
        "run/study.json its files can't be evaluated",
        |t| {
            std::fs::write(
                t.join("run/source/e2e.ncl"),
                "import \"/etc/passwd\" as 'Text",
            )
            .unwrap();
        },
    ),
    (
        "study",
        1,
        "run/study.json is not what the study's files say",
        |t| {
            replace(t, "run/study.json", "\"seed\":", "\"seed\":1");
        },
    ),
    (
        "plan",
        1,
        "run/plan.json is not the plan of this study",
        |t| {
            replace(
                t,
                "run/plan.json",
                "\"excluded\":[]",
                "\"excluded\":[{\"experiment\":\"x\",\"platform\":null,\"reason\":\"y\"}]",
            );
        },
    ),
    (
        "trial that is hidden",
        1,
        "run/plan.json is not the plan of this study",
        hide_a_trial,
    ),
    (
        "trial that is hidden, as if by an older version",
        1,
        "run/plan.json is not the plan of this study",
        |t| {
            hide_a_trial(t);
            replace(t, "run/run.json", "\"only\":", "\"was\":");
            replace(t, "run/run.json", "\"main\":", "\"first\":");
        },
    ),
    (
        "trial that was not selected",
        1,
        "run/plan.json is not the plan of this study",
        |t| replace(t, "run/run.json", "*.linux.*", "send.linux.*"),
    ),
    (
        "study that is a file outside of the bundle",
        1,
        "which is no path below",
        |t| replace(t, "run/run.json", "\"main\":\"", "\"main\":\"../../../"),
    ),
    ("image", 1, "has not the key of what it was built of", |t| {
        replace(t, "run/images.json", "\"version\":\"", "\"version\":\"9");
    }),
    ("lock", 1, "locks/linux.lock differs", |t| {
        append(t, "locks/linux.lock", "\n")
    }),
    ("appendix", 1, "artifact-appendix.md differs", |t| {
        append(t, "artifact-appendix.md", "Badge: awarded.\n")
    }),
    (
        "research object",
        1,
        "ro-crate-metadata.json differs",
        |t| append(t, "ro-crate-metadata.json", "\n"),
    ),
    ("licence", 1, "LICENSE.md differs", |t| {
        replace(
            t,
            "export.json",
            "\"license\":\"MIT\"",
            "\"license\":\"0BSD\"",
        )
    }),
    (
        "raw data with their record",
        1,
        "run/frames/samples.parquet differs",
        falsify,
    ),
    ("raw data", 2, "is not the file that was recorded", |t| {
        append(t, RAW, "\n")
    }),
    ("raw data are missing", 2, "cannot read raw artefact", |t| {
        std::fs::remove_file(t.join(RAW)).unwrap()
    }),
    (
        "path of raw data",
        2,
        "does not stay below the trial's raw folder",
        |t| {
            replace(
                t,
                TRIAL,
                "\"path\":\"raw/",
                "\"path\":\"raw/../../../../../../../etc/",
            );
        },
    ),
    (
        "record of a trial",
        2,
        "damaged or was written by another version",
        |t| append(t, TRIAL, "x"),
    ),
    (
        "format of the run",
        2,
        "has format 9, and this vexp reads format 1",
        |t| {
            replace(t, "run/run.json", "\"format\":1", "\"format\":9");
        },
    ),
    (
        "another run",
        2,
        "and its run.json of e2e-20990101-000000-0000",
        |t| {
            replace(
                t,
                "run/run.json",
                "\"id\":\"e2e-2",
                "\"id\":\"e2e-20990101-000000-0000\",\"was\":\"e2e-2",
            );
        },
    ),
    ("options", 2, "export.json is not valid", |t| {
        replace(t, "export.json", "\"format\":1", "\"format\":1,\"more\":1")
    }),
    (
        "format of the options",
        2,
        "export.json has format 2",
        |t| replace(t, "export.json", "\"format\":1", "\"format\":2"),
    ),
    (
        "licence that there is not",
        2,
        "export.json is not valid",
        |t| replace(t, "export.json", "\"MIT\"", "\"Mine\""),
    ),
    ("images that are not there", 2, "is not there", |t| {
        replace(t, "export.json", "\"images\":false", "\"images\":true")
    }),
    (
        "template that does not end",
        2,
        "template report.html.j2 cannot be rendered",
        never_ending,
    ),
];
