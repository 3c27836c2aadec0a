"""The paper's systems, each trained here, with the published number beside ours: ``make paper``."""
