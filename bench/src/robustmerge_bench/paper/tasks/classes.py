"""The 100 classes of the ImageNet task, in the order in which its prompt lists them."""

from __future__ import annotations

_LISTED = """\
Doormat, Pomeranian, Chime, Golden retriever, Garden spider, Piggy bank, Walker hound, Castle, \
Chimpanzee, Sunscreen, Projectile, Accordion, Hand blower, Stupa, Kimono, German shepherd, Mouse, \
Maillot, Rotisserie, Earthstar, Television, Banjo, Jaguar, Cock, Goblet, Organ, Mortarboard, \
Hard disc, Red-backed sandpiper, Valley, Bow tie, Desk, Shopping basket, Marmoset, Mantis, \
Tiger beetle, Meat loaf, Curly-coated retriever, American black bear, Hyena, Spatula, Toaster, \
Cucumber, Espresso maker, Irish terrier, Fig, Tennis ball, Thatch, Spotted salamander, \
Dandie dinmont, Dalmatian, Sealyham terrier, Jack-o'-lantern, Hamper, Eggnog, Gordon setter, \
Water ouzel, Afghan hound, Sloth bear, Teapot, Standard poodle, Sunglass, Leafhopper, Barometer, \
Recreational vehicle, Cabbage butterfly, Poncho, Lampshade, Agaric, Koala, African crocodile, \
Envelope, Carpenter's kit, Old english sheepdog, Chocolate sauce, Dough, Bucket, Microphone, \
Lorikeet, Paddle, Crane2, Hip, Quail, Pickup, Beer glass, Face powder, Rottweiler, Tub, \
Head cabbage, Swing, Malamute, Damselfly, Hartebeest, Gondola, Hog, Web site, Whippet, Gasmask, \
Lemon, Bernese mountain dog"""

IMAGENET_CLASSES = tuple(_LISTED.split(", "))
