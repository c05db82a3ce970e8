"""Audio in and out: any file libsndfile reads, as mono float32 at one stated rate; nothing silently repaired.

What cannot be used raises `AudioError` with one of these codes (a closed set; corpus reports count by them):

| code | meaning |
|---|---|
| missing | no such file |
| not-a-file | a directory, FIFO, socket, device or symlink loop; refused without opening it |
| unreadable | the operating system refuses to read it |
| empty | no samples |
| truncated | the file ends before the audio its header announces, or its writer was killed |
| corrupt | checksums or the decoder say that the audio is damaged |
| non-finite | NaN or infinite samples |
| bad-header | header fields that contradict each other or the file, or a rate outside 4-192 kHz |
| bad-segment | start and end that do not lie in the recording |
| too-long | longer than the limit that the caller set |
| unsupported | no format that libsndfile reads |
| pipe-refused | a command in place of a file, not allowed here |
| pipe-failed | an allowed command that failed, hung or gave too much |
| remote-refused | an address in place of a file, not allowed here |
| remote-failed | an address that did not answer, or not in time, or not whole |
| too-short | fewer samples than one frame of the encoder (raised by extraction, not here) |

What is checked, by container: WAV/RF64/W64/AIFF/AU/CAF/SPHERE sizes against the file's size, and what WAV and W64 state
twice; FLAC frame count, the MD5 of the decoded audio, and the rate against the first frame's; every Ogg page's CRC and
the end-of-stream mark; MP3 frame chain and Info tag. Plain PCM holds no checksum, so flipped bits in its samples cannot
be seen; nor can those inside MP3 frames, nor an MP3 without Info tag cut exactly between two frames, nor another usual
rate in AIFF, AU, CAF and SPHERE (an unusual one is noted). A segment (start, end) of a file is checked as far as it is
decoded.
"""

from speechssl.audio.decode import Audio, AudioStream, read, stream
from speechssl.audio.encode import write
from speechssl.audio.source import REASONS, AudioInfo, Source, probe

__all__ = ["REASONS", "Audio", "AudioInfo", "AudioStream", "Source", "probe", "read", "stream", "write"]
