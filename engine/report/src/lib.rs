//! frame, judge, report: Polars and minijinja live here.
