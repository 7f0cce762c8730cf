//! θ in the kernels' orders, packed when a call first needs an order and kept until θ changes.

use std::sync::{Arc, Mutex, PoisonError};

use tightrope_network::ParameterLayout;

use crate::net::plan::Plan;
use crate::net::weights::{Layouts, Weights};
use crate::scratch::Scratch;
use crate::simd::isa::{Isa, on_isa};
use crate::simd::lanes::Lanes;

/// Packed copies of one θ, by what they were packed for.
#[derive(Default)]
pub struct Packed(Mutex<Vec<(Layouts, Arc<Weights>)>>);

/// Packs θ on the instruction set.
unsafe fn pack<S: Lanes>(
    weights: &mut Weights,
    plan: &Plan,
    layout: &ParameterLayout,
    theta: &[f32],
    layouts: Layouts,
) {
    // SAFETY: the machine is the caller's word.
    unsafe { weights.pack::<S>(plan, layout, theta, layouts) }
}

impl Packed {
    /// A copy that serves `layouts`, if there is one.
    pub fn find(&self, layouts: &Layouts) -> Option<Arc<Weights>> {
        let copies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        copies.iter().find(|(own, _)| own.serve(layouts)).map(|(_, weights)| Arc::clone(weights))
    }

    /// A copy that serves `layouts`, packed from `theta` if there is none.
    ///
    /// The lock is not held while packing, which runs other tasks of the thread pool: two calls at once may both pack.
    pub fn get(
        &self,
        isa: Isa,
        plan: &Plan,
        layout: &ParameterLayout,
        theta: &[f32],
        layouts: Layouts,
        scratch: &Scratch,
    ) -> Arc<Weights> {
        if let Some(weights) = self.find(&layouts) {
            return weights;
        }
        let mut weights = scratch.weights.take();
        on_isa!(isa, pack, &mut weights, plan, layout, theta, layouts);
        let weights = Arc::new(weights);
        let mut copies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        copies.retain(|(other, _)| !layouts.serve(other));
        copies.push((layouts, Arc::clone(&weights)));
        weights
    }

    /// Forgets all copies; their memory serves the next ones.
    pub fn clear(&mut self, scratch: &Scratch) {
        let copies = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        copies.drain(..).filter_map(|(_, weights)| Arc::into_inner(weights)).for_each(|w| scratch.weights.give(w));
    }
}
