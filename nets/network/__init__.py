"""One network: its architecture, its weights, its observables and its tangent kernel."""
