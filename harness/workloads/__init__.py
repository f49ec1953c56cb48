"""What a trial does: one module per workload kind, called by the backends."""
