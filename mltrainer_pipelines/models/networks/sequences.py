"""Networks that read the last sessions of a symbol."""

from mltrainer_pipelines.models.networks.model import Architecture, declare
from mltrainer_pipelines.models.spec import ModelSpec


def _declare(model: str, layer: str, summary: str, source: str, core: bool = False, **options: object) -> ModelSpec:
    architecture = Architecture(layer, options, sequence=True)
    return declare(model, architecture, summary, source, family="sequences", core=core, units=32)


MODELS = (
    _declare("lstm", "Recurrent", "what has built up over some weeks, kept and forgotten by gates",
             "Hochreiter & Schmidhuber (1997), Long Short-Term Memory", core=True, kind="LSTM"),
    _declare("gru", "Recurrent", "as an LSTM with fewer gates: quicker, less to overfit",
             "Cho et al. (2014), Learning Phrase Representations using RNN Encoder-Decoder", core=True, kind="GRU"),
    _declare("bidirectional_lstm", "Recurrent", "reads the weeks forwards and backwards: the shape of the whole window",
             "Graves & Schmidhuber (2005), Framewise Phoneme Classification with Bidirectional LSTM", core=True, kind="LSTM",
             both=True),
    _declare("temporal_cnn", "TemporalConvolution", "patterns of days, then of weeks, by dilated causal convolutions",
             "Bai, Kolter & Koltun (2018), An Empirical Evaluation of Generic Convolutional and Recurrent Networks", core=True),
    _declare("cnn_lstm", "ConvolutionalRecurrent", "short patterns by convolution, their order by an LSTM",
             "Sainath, Vinyals, Senior & Sak (2015), Convolutional, Long Short-Term Memory, Fully Connected DNNs", core=True),
    _declare("transformer", "SequenceTransformer", "any session may attend to any other of the window",
             "Vaswani et al. (2017), Attention Is All You Need", core=True),
    _declare("elman_network", "Recurrent", "the plainest recurrence: a fading memory of some days",
             "Elman (1990), Finding Structure in Time", kind="RNN"),
    _declare("attention_lstm", "Recurrent", "an LSTM that looks back over its states and weighs them",
             "Qin et al. (2017), A Dual-Stage Attention-Based Recurrent Neural Network", kind="LSTM", attend=True),
    _declare("patch_transformer", "SequenceTransformer", "attends between weeks instead of days: fewer, richer tokens",
             "Nie, Nguyen, Sinthong & Kalagnanam (2023), A Time Series Is Worth 64 Words (PatchTST)", tokens="patches"),
    _declare("inverted_transformer", "SequenceTransformer", "whole histories of features attend to each other",
             "Liu et al. (2024), iTransformer", tokens="features"),
    _declare("nbeats", "StackedBasis", "blocks that explain part of the window and pass on the rest",
             "Oreshkin, Carpov, Chapados & Bengio (2020), N-BEATS"),
    _declare("nhits", "StackedBasis", "as N-BEATS, from coarse steps to fine ones",
             "Challu et al. (2023), N-HiTS: Neural Hierarchical Interpolation", pools=(5, 2, 1)),
    _declare("dlinear", "DecomposedLinear", "a weighted sum of trend and rest: hard to overfit, hard to beat",
             "Zeng, Chen, Zhang & Xu (2023), Are Transformers Effective for Time Series Forecasting?"),
    _declare("nlinear", "DecomposedLinear", "a weighted sum of changes since each session: levels that drift do not matter",
             "Zeng et al. (2023), Are Transformers Effective …, NLinear", last_value=True),
    _declare("mixer_network", "MixerNetwork", "perceptrons across time and across features in turn",
             "Chen et al. (2023), TSMixer: An All-MLP Architecture for Time Series Forecasting"),
    _declare("wavenet", "TemporalConvolution", "gated dilated convolutions with skips from every level",
             "van den Oord et al. (2016), WaveNet: A Generative Model for Raw Audio", gated=True),
    _declare("inception_time", "ConvolutionTower", "patterns of several widths side by side",
             "Ismail Fawaz et al. (2020), InceptionTime", kind="inception"),
    _declare("fully_convolutional", "ConvolutionTower", "three plain convolutions and a mean: a strong simple classifier",
             "Wang, Yan & Oates (2017), Time Series Classification from Scratch with Deep Neural Networks", kind="plain"),
    _declare("residual_convolutional", "ConvolutionTower", "convolutions that correct a straight path",
             "Wang, Yan & Oates (2017), Time Series Classification from Scratch …, ResNet", kind="residual"),
    _declare("lstm_fcn", "ParallelConvolutionalRecurrent", "an LSTM beside convolutions that weigh their channels",
             "Karim, Majumdar, Darabi & Harford (2019), Multivariate LSTM-FCNs for Time Series Classification"),
    _declare("state_space_network", "DiagonalStateSpace", "long learnt filters with oscillation and decay",
             "Gu, Gupta, Goel & Ré (2022), On the Parameterization and Initialization of Diagonal State Space Models"),
    _declare("minimal_gru", "GatedAverage", "learnt forgetting from the inputs alone: averages with a changing memory",
             "Feng et al. (2024), Were RNNs All We Needed?"),
    _declare("quasi_recurrent", "GatedAverage", "forgetting decided by neighbouring sessions",
             "Bradbury, Merity, Xiong & Socher (2017), Quasi-Recurrent Neural Networks", kernel=3),
    _declare("echo_state", "Reservoir", "a random reservoir with a learnt reading: no training through time",
             "Jaeger (2001), The Echo State Approach to Analysing and Training Recurrent Neural Networks"),
    _declare("random_convolutions", "RandomConvolutions", "thousands of random patterns and a line above them",
             "Dempster, Petitjean & Webb (2020), ROCKET: Exceptionally Fast and Accurate Time Series Classification"),
    _declare("temporal_fusion", "TemporalFusion", "chooses features day by day, then attends over what it read",
             "Lim, Arık, Loeff & Pfister (2021), Temporal Fusion Transformers"),
)  # fmt: skip
