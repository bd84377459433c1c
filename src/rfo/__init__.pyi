"""The public names of rfo and their places, for type checkers and for programs alike."""

from rfo.algos.apg import APG as APG
from rfo.algos.fpo import FPO as FPO
from rfo.algos.ppo import PPO as PPO
from rfo.algos.rfo import RFO as RFO
from rfo.algos.sac import SAC as SAC
from rfo.algos.sapo import SAPO as SAPO
from rfo.algos.self_tuned import SelfTunedRFO as SelfTunedRFO
from rfo.algos.settings import Critic as Critic
from rfo.algos.settings import Flow as Flow
from rfo.algos.settings import Network as Network
from rfo.algos.settings import Optimiser as Optimiser
from rfo.algos.settings import Schedule as Schedule
from rfo.algos.shac import SHAC as SHAC
from rfo.algos.soft_flow import SoftFlow as SoftFlow
from rfo.deploy.identify import identify as identify
from rfo.envs.base import Environment as Environment
from rfo.envs.base import EnvSpec as EnvSpec
from rfo.envs.base import Step as Step
from rfo.envs.batch import Batch as Batch
from rfo.envs.chunk import ChunkedBatch as ChunkedBatch
from rfo.envs.randomise import Randomised as Randomised
from rfo.envs.robot import Robot as Robot
from rfo.errors import RunError as RunError
from rfo.errors import SettingError as SettingError
from rfo.experiment.api import clone as clone
from rfo.experiment.api import collect as collect
from rfo.experiment.api import evaluate as evaluate
from rfo.experiment.api import make as make
from rfo.experiment.api import train as train
from rfo.experiment.api import train_seeds as train_seeds
from rfo.experiment.catalogue import methods as methods
from rfo.experiment.catalogue import register_task as register_task
from rfo.experiment.catalogue import tasks as tasks
from rfo.experiment.gradients import GradientReport as GradientReport
from rfo.experiment.gradients import check_gradient as check_gradient
from rfo.experiment.record import Evaluation as Evaluation
from rfo.experiment.record import Experiment as Experiment
from rfo.experiment.record import TaskSettings as TaskSettings
from rfo.experiment.record import preset as preset
from rfo.experiment.run import Run as Run
from rfo.experiment.run import load as load
from rfo.policies.flow import FlowPolicy as FlowPolicy
from rfo.policies.gaussian import GaussianPolicy as GaussianPolicy
from rfo.training.demonstrations import Demonstrations as Demonstrations

__version__: str
