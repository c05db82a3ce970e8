"""From units, codes or frames to waveforms, and the discriminators that vocoders and codecs are trained against."""
