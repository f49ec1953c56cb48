"""attestbench: unified remote attestation of confidential containers, and its evaluation."""
