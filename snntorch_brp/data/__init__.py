"""From files as their owners distribute them to tensors, and from batches of these to spikes on the device.

- images: :mod:`.images` (digits, MNIST, Fashion-MNIST), :mod:`.cifar`;
- event cameras: :mod:`.events` (DvsGesture, N-MNIST, the encoder), :mod:`.event_files` (formats), :mod:`.framing`,
  :mod:`.resident` (raw events kept on the device), :mod:`.simulate` (gestures to try things with);
- sounds: :mod:`.speech` (TIDigits, FSDD, the encoder), :mod:`.audio` (formats), :mod:`.filterbank`;
- your own recordings: :mod:`.folders`;
- what they share: :mod:`.recordings` (bad ones: error or skip), :mod:`.splits`, :mod:`.cache`, :mod:`.loader`,
  :mod:`.archive`, :mod:`.check`, :mod:`.pictures`.
"""
