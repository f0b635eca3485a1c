"""Published weights of Network in Network: none but files of Caffe."""

UNPUBLISHED = ("nin", "nin_imagenet")
