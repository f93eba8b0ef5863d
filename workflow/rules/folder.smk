# Before the first job: whether results can be written, whether there is room, and who else is at work in this folder.
from tgdpet.workflow import costs, failures, lock

if workflow.is_main_process:
    BILL = costs.times(costs.estimate(CONFIG, STUDIES), len(RUNS))
    print(costs.bill_text(BILL), file=sys.stderr)
    for path in RUNS if not workflow.dryrun else []:
        try:
            lock.check_writable(path)
        except ValueError as error:
            raise WorkflowError(str(error)) from None
    for note in (
        lock.room(RUNS[0], costs.peak_gb(BILL)),
        lock.holder(Path.cwd(), RUNS),
    ):
        if note:
            print(note, file=sys.stderr)


# Runs once Snakemake has its lock.
onstart:
    lock.hold(Path.cwd(), RUNS)
    # To keep its limit of 100 starts a second, Snakemake 9 asks anew what to start a second after each time it asked,
    # for good, and each finished job adds one such round: after 100 jobs they take a third of a core from the jobs.
    LIMIT = workflow.scheduling_settings.max_jobs_per_timespan
    if LIMIT and (LIMIT.max_jobs, LIMIT.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None


onerror:
    text = "".join(Path(path).read_text(encoding="utf-8") for path in log)
    for line in failures.summary(text):
        print(line, file=sys.stderr)
