"""Schedules that failed once: each stays a test. What a seed plays changes with the schedule; its reason stays true."""

KEPT = {
    3: "the disk was full when an executor announced itself: a traceback instead of `store_unavailable`",
    33: "a viewer went in the middle of `chat:open`: a traceback",
    109: "the disk was full when a plain executor sent lines and its end: they were lost, and the run never ended",
    1130: "a companion that started again announced itself before its models were listed: what waited for it failed",
    1198: "the same, right after a restart of the server",
    5919: "an executor slept through its offers while another was away: the runs waited for that one alone",
}
"""The reason for each seed."""
