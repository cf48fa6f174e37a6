"""Every option with its published default (edition v3). Presets change values, never add meaning.

"paper" is Hafner et al., Nature 2025; docs/algorithm.md is the numerical contract.
Counts are integers. A step is one decision of the policy unless its name says otherwise.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Return the complete configuration with the published defaults."""
    config = ConfigDict()
    config.task = "gymnasium:CartPole-v1"  # suite:name, or import path my_package.my_env:make
    config.seed = 0  # determines environments, parameters, sampling and batches
    config.steps = 1_000_000  # policy steps over all environments, reset records not counted
    config.envs = 16  # environments stepped together
    config.size = "12m"  # row of configs/sizes.py
    config.batch_size = 16  # rows per update (paper)
    config.batch_length = 64  # trained time steps per row (paper)
    config.train_ratio = 32.0  # replayed time steps per policy step
    config.from_checkpoint = ""  # run directory whose agent this run starts from
    config.compute_dtype = "auto"  # auto: bfloat16 on accelerators, float32 on CPU
    config.debug_nans = False  # raise where the first NaN is computed; slow
    config.stop_after_skips = 20  # updates in a row whose loss is not finite; 0: never stop
    config.env = ConfigDict()  # options of the suite's constructor, see README
    config.env_workers = "auto"  # auto, inline, process, or ray: actors of a cluster
    config.device_steps = 16  # vector steps a call of environments in JAX; 0: stepped by the host
    config.source = "environments"  # of experience: environments, or an import path
    config.faults = _faults()
    config.mesh = _mesh()
    config.agent = _agent()
    config.replay = _replay()
    config.log = _log()
    config.checkpoint = _checkpoint()
    config.evaluation = _evaluation()
    return config


def _faults() -> ConfigDict:
    faults = ConfigDict()
    faults.timeout = 300.0  # seconds for a step of all environments in worker processes
    faults.restarts = 100  # failures of environments after which the next one ends the run
    faults.invalid_values = "error"  # NaN, infinity, unknown class: error, or drop the episode
    return faults


def _mesh() -> ConfigDict:
    mesh = ConfigDict()
    mesh.fsdp = 1  # devices that share one copy of parameters and optimiser; the rest is `data`
    return mesh


def _agent() -> ConfigDict:
    agent = ConfigDict()
    _set_parts(agent)
    _set_networks(agent)
    _set_losses(agent)
    _set_optimizer(agent)
    return agent


def _set_parts(agent: ConfigDict) -> None:
    """Set which parts the agent has: names of `makers/`, or import paths of your own makers."""
    agent.encoder = "v3"
    agent.dynamics = "rssm"
    agent.objectives = ConfigDict({"decoder": "reconstruction"})  # by entry; "": without
    agent.heads = ConfigDict({"reward": "twohot", "cont": "bernoulli"})  # by entry and loss
    agent.behaviors = ConfigDict({"main": "actor_critic"})  # several may learn side by side
    agent.acts = "main"  # the behaviour that chooses actions
    agent.actor_loss = "reinforce"
    agent.critic = "twohot"  # a head: what the critic's outputs mean
    agent.phases = "joint"  # kinds of update: one that trains everything
    agent.optimizer = "laprop"  # of every phase that brings none of its own
    agent.options = ConfigDict()  # options of parts of your own


def _set_networks(agent: ConfigDict) -> None:
    """Set what the modules are made of (docs/algorithm.md 2-5)."""
    agent.groups = 32  # categorical latents
    agent.blocks = 8  # blocks of the recurrent core
    agent.decoder_blocks = 8  # blocks of the image decoder's first layer
    agent.dynamics_layers = 1
    agent.prior_layers = 2
    agent.posterior_layers = 1
    agent.encoder_layers = 3
    agent.decoder_layers = 3
    agent.reward_layers = 1
    agent.cont_layers = 1
    agent.actor_layers = 3
    agent.critic_layers = 3
    agent.encoder_strided = False  # stride 2 instead of max-pooling, for slow machines
    agent.unimix = 0.01  # uniform share of latent distributions
    agent.actor_unimix = 0.0  # uniform share of discrete actions; the published runs had none
    agent.actor_outscale = 0.01  # initial scale of the actor's output kernel
    agent.actor_min_std = 0.1
    agent.actor_max_std = 1.0
    agent.bins = 255  # two-hot bins of reward and critic


def _set_losses(agent: ConfigDict) -> None:
    """Set what is learned (docs/algorithm.md 6-7)."""
    agent.loss_scales = ConfigDict(
        {
            "recon": 1.0,  # each observation key
            "reward": 1.0,
            "cont": 1.0,
            "dyn": 1.0,
            "rep": 0.1,
            "actor": 1.0,
            "critic": 1.0,
            "replay_critic": 0.3,
        }
    )
    agent.free_nats = 1.0  # floor of each KL loss
    agent.discount_horizon = 333  # steps; gamma = 1 − 1/333
    agent.contdisc = True  # the continue head learns the discounted probability
    agent.imag_horizon = 15  # imagined steps
    agent.imag_last = 0  # imagine from the last so many steps of a row; 0: from all
    agent.imag_lambda = 0.95
    agent.replay_lambda = 0.95
    agent.entropy_scale = 3e-4
    agent.slow_regularizer = 1.0  # weight of staying near the slow critic
    agent.replay_slow_regularizer = 1.0
    agent.slow_target = False  # returns and baseline from the slow critic
    agent.slow_rate = 0.02  # share of the critic that enters the slow critic per update
    agent.return_rate = 0.01  # share of a batch in the return percentiles
    agent.return_low = 5.0  # percentile
    agent.return_high = 95.0  # percentile
    agent.return_limit = 1.0  # smallest return scale


def _set_optimizer(agent: ConfigDict) -> None:
    """Set how it is learned (docs/algorithm.md 8)."""
    agent.learning_rate = 4e-5
    agent.actor_learning_rate = 0.0  # 0: the same as learning_rate
    agent.critic_learning_rate = 0.0  # 0: the same as learning_rate
    agent.warmup = 1000  # updates
    agent.decay = "const"  # const, linear or cosine to a tenth
    agent.decay_updates = 0  # update at which a decay ends
    agent.agc = 0.3  # largest gradient norm over parameter norm
    agent.beta1 = 0.9
    agent.beta2 = 0.999
    agent.epsilon = 1e-20
    agent.weight_decay = 0.0  # decoupled, kernels only


def _replay() -> ConfigDict:
    replay = ConfigDict()
    replay.capacity = 5_000_000  # records over all environments; never more than the run makes
    replay.context = 1  # stored latents before each row: 1 or 0
    replay.online = True  # serve every new window once before sampling uniformly
    replay.recency = 0.0  # share of rows drawn with preference for recent records
    return replay


def _log() -> ConfigDict:
    log = ConfigDict()
    log.every = 1000  # policy steps between two lines of metrics.jsonl
    log.report_every = 0  # policy steps between two open-loop reports; 0: none
    log.trace_first = 20  # updates before the traced ones; compilation would fill the trace
    log.trace_updates = 0  # updates in a profiler trace under `trace/`; 0: none
    log.outputs = ""  # beside metrics.jsonl and media/: tensorboard, import paths; by commas
    return log


def _checkpoint() -> ConfigDict:
    checkpoint = ConfigDict()
    checkpoint.seconds = 600.0  # between two checkpoints; one is always written at the end
    checkpoint.keep = 2  # checkpoints of the history
    return checkpoint


def _evaluation() -> ConfigDict:
    evaluation = ConfigDict()
    evaluation.episodes = 0  # greedy episodes after the last update; 0: none
    evaluation.envs = 16  # environments stepped together during evaluation
    evaluation.video = False  # record the first evaluation episode
    return evaluation
