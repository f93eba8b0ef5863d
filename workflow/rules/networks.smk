# What networks are made from and how: training sets, settings, options.
TASKS = {
    "v1": ("v1", ROLE_STUDIES.get(roles.TRAINING, [])),
    "v2": ("v2", ROLE_STUDIES.get(roles.TRAINING, [])),
    "adapt": ("v2", ROLE_STUDIES.get(roles.ADAPTATION, [])),
    **{f"n2n-{s}": ("v2", [s]) for s in ONLINE},
}


def networks_of_role(role):
    """Networks that denoise the studies of a role: bladder and catheter also those that were adapted to the study itself."""
    return POPULATION + (N2N if role in roles.ONLINE else [])


def networks_of(study):
    """Networks that denoise this study."""
    return POPULATION + (N2N if study in ONLINE else [])


def model(network, study=None):
    """Path of a network's weights."""
    online = NETWORKS[network].data == "n2n"
    return str(FILES.weights_path(network, study if online else ""))


def task_pairs(task):
    """(study, sample, noisy image, target image) of a task."""
    protocol, studies = TASKS[task]
    if task.startswith("n2n-"):
        halves = [recon(studies[0], protocol, f"half{i}") for i in (1, 2)]
        return [(studies[0], "half1", *halves), (studies[0], "half2", *halves[::-1])]
    return [
        (s, x, recon(s, protocol, x), recon(s, protocol, WHOLE))
        for s in studies
        for x in FILES.study_samples(s, protocol)
        if x != WHOLE
    ]


def task_paths(task):
    """The index table, then the volumes of a task's studies."""
    files = ["index.tsv", *(f"{s}.npy" for s in TASKS[task][1])]
    return [str(FILES.dataset_path(task, f)) for f in files]


def task_images(task):
    """The images that a task's volumes are taken from, and their sidecars."""
    images = sorted({path for pair in task_pairs(task) for path in pair[2:]})
    return images + sidecars(images)


def task_words(task):
    """The pairs of a task as the script takes them."""
    return " ".join(":".join(pair) for pair in task_pairs(task))


def scratch_data(wildcards):
    """The index table and the volumes that a network is trained on from scratch."""
    data = NETWORKS[wildcards.network].data
    return task_paths(f"n2n-{wildcards.study}" if data == "n2n" else data)


def scratch_settings(network):
    """Online learning from scratch takes the step size of training from scratch, and the rest as online learning."""
    if NETWORKS[network].data == "n2n":
        return dataclasses.replace(
            CONFIG.online, learning_rate=CONFIG.train.learning_rate
        )
    return CONFIG.train


def adaptation_data(wildcards):
    """The index table and the volumes that a network is adapted on: a protocol's, or a single study's halves."""
    online = NETWORKS[wildcards.network].data == "n2n"
    return task_paths(f"n2n-{wildcards.study}" if online else "adapt")


def adaptation_settings(network):
    """Online learning has settings of its own."""
    return CONFIG.online if NETWORKS[network].data == "n2n" else CONFIG.adapt


def adapt_options(network):
    """Command-line words of a network's entry: those that belong to its method."""
    e = NETWORKS[network]
    others = [k for k, methods in checks.BELONGS.items() if e.method not in methods]
    return arguments.to_options(e, skip=["data", "base", *others])


def old_data(network):
    """What the start of a network's chain was trained on, if the network or its log needs it."""
    if not chains.needs_old_data(NETWORKS[network], CONFIG.adapt):
        return []
    return task_paths(chains.old_task(network, NETWORKS))


def scores_of(network):
    """The KSE table that decides what is retrained (tgd only)."""
    e = NETWORKS[network]
    return [str(FILES.scores_path(e.base))] if e.method == "tgd" else []
