//! Figures and tables: what they show must be in the matrix, and in one unit.

use vexp_api::ids::Name;
use vexp_api::metric;
use vexp_api::spec::{Figure, Series, Table};

use super::Cx;
use super::findings::Findings;
use super::references::{keys, metric_ref, resolve, resolve_per_vm, unique};
use crate::load::FieldPath;

pub(super) fn check(cx: &Cx<'_>, findings: &mut Findings<'_>) {
    let metrics: Vec<_> = metric::METRICS.iter().map(|metric| metric.name).collect();
    for name in cx.study.paper.iter().flat_map(|paper| paper.metrics.keys()) {
        let at = FieldPath::of(&["paper", "metrics", name.as_str()]);
        resolve("metric", name, &metrics, &at, findings);
    }
    let path = FieldPath::of(&["figures"]);
    for (i, figure) in cx.study.figures.iter().enumerate() {
        self::figure(cx, figure, &path.index(i), findings);
    }
    let path = FieldPath::of(&["tables"]);
    for (i, table) in cx.study.tables.iter().enumerate() {
        self::table(cx, table, &path.index(i), findings);
    }
}

fn figure(cx: &Cx<'_>, figure: &Figure, path: &FieldPath, findings: &mut Findings<'_>) {
    let metrics: Vec<_> = metric::METRICS.iter().map(|metric| metric.name).collect();
    let at_metric = path.key("metric");
    resolve("metric", &figure.metric, &metrics, &at_metric, findings);
    let because = [(&at_metric, "the metric of the bars")];
    if let Some(parts) = &figure.parts {
        let at = path.key("parts");
        resolve("metric", parts, &metrics, &at, findings);
        resolve_per_vm(parts, &at, findings);
        same_unit(&figure.metric, parts, &at, &because, findings);
    }
    if let Some(x) = &figure.x {
        resolve("metric", x, &metrics, &path.key("x"), findings);
    }
    let at_series = path.key("series");
    for (i, series) in figure.series.iter().enumerate() {
        self::series(cx, series, figure, path, &at_series.index(i), findings);
    }
    let points = figure.series.iter();
    let points = points.map(|series| format!("{} on {}", series.experiment, series.platform));
    unique("series", points, &at_series, findings);
    let at_vms = path.key("vms");
    unique("VM count", &figure.vms, &at_vms, findings);
    for (i, vms) in figure.vms.iter().enumerate() {
        let shown = |series: &Series| counts(cx, series).is_none_or(|all| all.contains(vms));
        if !figure.series.iter().any(shown) {
            let message = format!("no series has a point with {vms} VMs");
            let help = Some("leave it out; platforms without guests have 0".to_owned());
            let because = [(&at_series, "the series")];
            findings.rule("not-in-matrix", &at_vms.index(i), message, help, &because);
        }
    }
    if let Some(reference) = &figure.reference {
        let at = path.key("reference").key("of");
        metric_ref(cx, &reference.of, &at, findings);
        let at = at.key("metric");
        same_unit(
            &figure.metric,
            &reference.of.metric,
            &at,
            &because,
            findings,
        );
    }
}

/// VM counts at which a series has points; `None` where what it names is wrong itself.
fn counts(cx: &Cx<'_>, series: &Series) -> Option<Vec<u32>> {
    let experiment = cx.study.experiments.get(&series.experiment)?;
    let platform = cx.study.platforms.get(&series.platform)?;
    let plugin = cx
        .registry
        .hypervisors()
        .get(platform.hypervisor.as_str())?;
    Some(match plugin.traits().guests {
        true => experiment.vms.clone(),
        false => vec![0],
    })
}

fn series(
    cx: &Cx<'_>,
    series: &Series,
    figure: &Figure,
    figure_path: &FieldPath,
    path: &FieldPath,
    findings: &mut Findings<'_>,
) {
    let (experiments, platforms) = (keys(&cx.study.experiments), keys(&cx.study.platforms));
    let (at_experiment, at_platform) = (path.key("experiment"), path.key("platform"));
    resolve(
        "experiment",
        &series.experiment,
        &experiments,
        &at_experiment,
        findings,
    );
    resolve(
        "platform",
        &series.platform,
        &platforms,
        &at_platform,
        findings,
    );
    let Some(experiment) = cx.study.experiments.get(&series.experiment) else {
        return;
    };
    if !experiment.platforms.contains(&series.platform) {
        let names: Vec<_> = experiment.platforms.iter().map(Name::as_str).collect();
        let message = format!(
            "experiment `{}` does not run on platform `{}`",
            series.experiment, series.platform
        );
        let help = Some(format!("it runs on: {}", names.join(", ")));
        let platforms = FieldPath::of(&["experiments", series.experiment.as_str(), "platforms"]);
        let because = [(&platforms, "its platforms")];
        findings.rule("not-in-matrix", &at_platform, message, help, &because);
        return;
    }
    if let Some(all) = counts(cx, series)
        && !figure.vms.iter().any(|vms| all.contains(vms))
    {
        let all: Vec<_> = all.iter().map(u32::to_string).collect();
        let message = "the series has a point at none of the figure's VM counts".to_owned();
        let help = Some(format!("VM counts there: {}", all.join(", ")));
        let vms = figure_path.key("vms");
        let because = [(&vms, "the figure's VM counts")];
        findings.rule("not-in-matrix", &at_platform, message, help, &because);
    }
}

/// What is drawn on one axis must be in one unit.
fn same_unit(
    bars: &Name,
    other: &Name,
    path: &FieldPath,
    because: &[(&FieldPath, &str)],
    findings: &mut Findings<'_>,
) {
    if let (Some(bars), Some(other)) = (metric::find(bars.as_str()), metric::find(other.as_str()))
        && bars.unit != other.unit
    {
        let message = format!(
            "`{}` is in {}, and the bars are not",
            other.name, other.unit
        );
        let help = Some(format!("`{}` is in {}", bars.name, bars.unit));
        findings.rule("metric-unit", path, message, help, because);
    }
}

fn table(cx: &Cx<'_>, table: &Table, path: &FieldPath, findings: &mut Findings<'_>) {
    let columns = path.key("columns");
    for (i, row) in table.rows.iter().enumerate() {
        let at = path.key("rows").index(i).key("cells");
        if row.cells.len() != table.columns.len() {
            let message = format!(
                "row `{}` has {} cells, and the table has {} columns",
                row.title,
                row.cells.len(),
                table.columns.len()
            );
            let help = Some("an empty cell is {}".to_owned());
            findings.rule(
                "table-cells",
                &at,
                message,
                help,
                &[(&columns, "the columns")],
            );
        }
        for (i, cell) in row.cells.iter().enumerate() {
            if let Some(of) = &cell.of {
                metric_ref(cx, of, &at.index(i).key("of"), findings);
            }
        }
    }
}
