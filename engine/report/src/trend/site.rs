//! A history → the files of a static site: one folder, no server, no script.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};

use serde::Serialize;
use vexp_api::metric::{self, Better};

use super::{Series, Trend, chart};
use crate::compare::words::{point, significant, significant_percent};
use crate::files::{self, WriteError};
use crate::report::{TemplateError, Templates};
use crate::stats::changes::Method;

/// A site could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// A template is wrong.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// It can't be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// What the templates are given.
#[derive(Serialize)]
struct Page<'a> {
    settings: Words,
    runs: &'a [Run],
    metrics: &'a [MetricPage],
    /// Of the index: changes, newest first.
    changes: Vec<&'a ChangeRow>,
    /// Of a metric's page: itself.
    metric: Option<&'a MetricPage>,
}

/// How change points were found, in words.
#[derive(Serialize)]
struct Words {
    alpha: f64,
    magnitude: f64,
    persistence: usize,
    otava: bool,
    /// What must be known beside the changes.
    caveats: Vec<String>,
    few: bool,
}

#[derive(Serialize)]
struct Run {
    id: String,
    started: String,
    report: Option<String>,
}

#[derive(Serialize)]
struct MetricPage {
    name: &'static str,
    formula: &'static str,
    unit: String,
    better: &'static str,
    file: String,
    worse: usize,
    improved: usize,
    series: Vec<SeriesView>,
}

#[derive(Serialize)]
struct SeriesView {
    id: String,
    point: String,
    svg: String,
    values: usize,
    latest: String,
    changes: Vec<ChangeRow>,
    environments: Vec<EnvironmentView>,
}

#[derive(Serialize)]
struct ChangeRow {
    run: String,
    started: String,
    report: Option<String>,
    page: String,
    point: String,
    metric: &'static str,
    words: String,
    before: String,
    after: String,
    p: String,
    worse: bool,
}

#[derive(Serialize)]
struct EnvironmentView {
    run: String,
    differences: Vec<String>,
}

/// Writes the site of a history into a folder, in place of what is there: `index.html`, and a page
/// for each metric. Its links into the runs' reports are relative.
pub fn site(trend: &Trend, folder: &Path, templates: &Templates) -> Result<PathBuf, SiteError> {
    let links: Vec<Option<String>> = (trend.runs.iter())
        .map(|run| link(folder, &run.folder.join("report/report.html")))
        .collect();
    let runs: Vec<Run> = (trend.runs.iter().zip(&links))
        .map(|(run, link)| Run {
            id: run.run.to_string(),
            started: run.started.clone(),
            report: link.clone(),
        })
        .collect();
    let metrics = pages(trend, &links);
    let mut changes: Vec<&ChangeRow> = metrics
        .iter()
        .flat_map(|page| &page.series)
        .flat_map(|series| &series.changes)
        .collect();
    changes.sort_by(|a, b| (&b.started, &a.page).cmp(&(&a.started, &b.page)));
    let page = |metric, changes| Page {
        settings: words(trend),
        runs: &runs,
        metrics: &metrics,
        changes,
        metric,
    };
    let index = templates.page("trend.html.j2", &page(None, changes))?;
    let mut files = vec![("index.html".to_owned(), index.into_bytes())];
    for metric in &metrics {
        let text = templates.page("trend-metric.html.j2", &page(Some(metric), Vec::new()))?;
        files.push((metric.file.clone(), text.into_bytes()));
    }
    files::write_folder(folder, &files)?;
    Ok(folder.join("index.html"))
}

fn words(trend: &Trend) -> Words {
    Words {
        alpha: significant_percent(trend.settings.alpha),
        magnitude: significant_percent(trend.settings.magnitude),
        persistence: trend.settings.persistence,
        otava: trend.settings.method == Method::Otava,
        caveats: trend.caveats(),
        few: trend.too_few().is_some(),
    }
}

fn pages(trend: &Trend, links: &[Option<String>]) -> Vec<MetricPage> {
    let mut found: BTreeMap<usize, MetricPage> = BTreeMap::new();
    for series in &trend.series {
        let Some(at) = (metric::METRICS.iter()).position(|m| m.name == series.metric) else {
            continue;
        };
        let metric = &metric::METRICS[at];
        let page = found.entry(at).or_insert_with(|| MetricPage {
            name: metric.name,
            formula: metric.formula,
            unit: metric.unit.to_string(),
            better: match metric.better {
                Better::Higher => "higher",
                Better::Lower => "lower",
            },
            file: format!("{}.html", metric.name),
            worse: 0,
            improved: 0,
            series: Vec::new(),
        });
        let worse = series.changes.iter().filter(|change| change.worse).count();
        page.worse += worse;
        page.improved += series.changes.len() - worse;
        page.series.push(view(trend, series, &page.file, links));
    }
    found.into_values().collect()
}

fn view(trend: &Trend, series: &Series, file: &str, links: &[Option<String>]) -> SeriesView {
    let point = point(&series.point);
    let id = point.replace('.', "-");
    let changes = series.changes.iter().filter_map(|change| {
        let run = series.values.get(change.at)?.run;
        Some(ChangeRow {
            run: change.run.to_string(),
            started: trend.runs.get(run)?.started.clone(),
            report: links.get(run).cloned().flatten(),
            page: format!("{file}#{id}"),
            point: point.clone(),
            metric: series.metric,
            words: change.words(),
            before: significant(change.before),
            after: significant(change.after),
            p: probability(change.p),
            worse: change.worse,
        })
    });
    let environments = series
        .environments
        .iter()
        .skip(1)
        .filter_map(|environment| {
            let run = series.values.get(environment.first)?.run;
            Some(EnvironmentView {
                run: trend.runs.get(run)?.run.to_string(),
                differences: environment.differences.clone(),
            })
        });
    let latest = series.values.last().map(|value| significant(value.value));
    SeriesView {
        svg: chart::svg(trend, series, &format!("chart-{id}"), links),
        values: series.values.len(),
        latest: latest.unwrap_or_default(),
        changes: changes.collect(),
        environments: environments.collect(),
        point,
        id,
    }
}

fn probability(p: f64) -> String {
    match p {
        p if p < 0.0001 => "< 0.0001".to_owned(),
        p => format!("{p:.4}"),
    }
}

/// A link from a page in `folder` to a file, if that is there: relative, so that both can be moved
/// together.
fn link(folder: &Path, file: &Path) -> Option<String> {
    let file = file.canonicalize().ok()?;
    // The folder may not be there yet.
    let folder = std::path::absolute(folder).ok()?;
    let known = folder.ancestors().find_map(|there| {
        let real = there.canonicalize().ok()?;
        Some(real.join(folder.strip_prefix(there).ok()?))
    })?;
    let common = known.components().zip(file.components());
    let shared = common.take_while(|(a, b)| a == b).count();
    let up = known.components().skip(shared).map(|_| "..".to_owned());
    let down = file.components().skip(shared).map(|part| match part {
        Component::Normal(name) => encoded(name.as_encoded_bytes()),
        _ => "..".to_owned(),
    });
    Some(up.chain(down).collect::<Vec<_>>().join("/"))
}

/// Percent-encoding of a path's part (RFC 3986, section 2).
fn encoded(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(*byte));
            }
            // Writing to a String cannot fail.
            byte => drop(write!(text, "%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_relative_and_encoded() {
        let dir = tempfile::tempdir().unwrap();
        let report = dir.path().join("runs/a #1%/report.html");
        std::fs::create_dir_all(report.parent().unwrap()).unwrap();
        std::fs::write(&report, "").unwrap();
        let found = link(&dir.path().join("site/new"), &report);
        assert_eq!(found.as_deref(), Some("../../runs/a%20%231%25/report.html"));
        assert_eq!(link(dir.path(), &dir.path().join("missing")), None);
    }
}
