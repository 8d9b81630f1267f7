//! Finds plugins by the names that specs use.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::batch::BatchPlugin;
use crate::plugin::{Hypervisor, Measure, Testbed};

/// All plugins of a binary.
#[derive(Clone, Default)]
pub struct Registry {
    testbeds: BTreeMap<&'static str, Arc<dyn Testbed>>,
    hypervisors: BTreeMap<&'static str, Arc<dyn Hypervisor>>,
    measures: BTreeMap<&'static str, Arc<dyn Measure>>,
    batch: BTreeMap<&'static str, Arc<dyn BatchPlugin>>,
}

impl Registry {
    /// A registry without plugins.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a testbed; a later one of the same name replaces an earlier one.
    #[must_use]
    pub fn testbed(mut self, plugin: impl Testbed + 'static) -> Self {
        self.testbeds.insert(plugin.name(), Arc::new(plugin));
        self
    }

    /// Adds a hypervisor.
    #[must_use]
    pub fn hypervisor(mut self, plugin: impl Hypervisor + 'static) -> Self {
        self.hypervisors.insert(plugin.name(), Arc::new(plugin));
        self
    }

    /// Adds a traffic generator or a monitor.
    #[must_use]
    pub fn measure(mut self, plugin: impl Measure + 'static) -> Self {
        self.measures.insert(plugin.name(), Arc::new(plugin));
        self
    }

    /// Adds a batch engine.
    #[must_use]
    pub fn batch_engine(mut self, plugin: impl BatchPlugin + 'static) -> Self {
        self.batch.insert(plugin.name(), Arc::new(plugin));
        self
    }

    /// Batch engines by name.
    pub fn batch_engines(&self) -> &BTreeMap<&'static str, Arc<dyn BatchPlugin>> {
        &self.batch
    }

    /// Testbeds by name.
    pub fn testbeds(&self) -> &BTreeMap<&'static str, Arc<dyn Testbed>> {
        &self.testbeds
    }

    /// Hypervisors by name.
    pub fn hypervisors(&self) -> &BTreeMap<&'static str, Arc<dyn Hypervisor>> {
        &self.hypervisors
    }

    /// Measures by name.
    pub fn measures(&self) -> &BTreeMap<&'static str, Arc<dyn Measure>> {
        &self.measures
    }
}
